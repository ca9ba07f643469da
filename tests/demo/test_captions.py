from dataclasses import replace

import numpy as np
import pytest

from reidtune.demo.captions import captions, tokens
from reidtune.demo.people import COLOURS, Item, make_people

BACKPACK = Item("backpack", "red", COLOURS["red"], near=0.5, warmth=0.1)
PERSON = replace(make_people(1, seed=0)[0], bag=BACKPACK, glasses=True)
ALWAYS = {"upper", "lower", "hair", "skin", "shoes"}


def many(person, view, visible, count=300):
    return captions(person, view, visible, np.random.default_rng(0), count)


def test_only_what_is_visible_is_described():
    front = many(PERSON, "front", ALWAYS | {"strap", "glasses"})
    assert not any("backpack" in line or "rucksack" in line for line in front)
    back = many(PERSON, "back", ALWAYS | {"bag"})
    assert sum("backpack" in line or "rucksack" in line for line in back) > 200
    assert not any("glasses" in line for line in back)
    hidden = many(PERSON, "front", {"upper", "skin"})
    assert not any("hair" in line for line in hidden)


def test_attributes_are_left_out_sometimes_and_phrasing_varies():
    lines = many(PERSON, "back", ALWAYS | {"bag"})
    assert len(set(lines)) > 250
    assert any("hair" not in line for line in lines) and any("hair" in line for line in lines)


@pytest.mark.parametrize("number", range(30))
def test_a_caption_is_a_sentence(number):
    person = make_people(30, seed=1)[number]
    for line in many(person, "back", ALWAYS | {"bag", "hat", "inner", "upper_second", "logo", "glasses"}, 20):
        assert line[0].isupper() and line.endswith(".") and "  " not in line and " ," not in line and "{" not in line
        assert "None" not in line and " a a" not in line and " a o" not in line


def test_nothing_visible_still_makes_a_sentence():
    assert all(line.endswith(".") for line in many(PERSON, "left", set(), 50))


def test_tokens():
    assert tokens("A T-shirt, please.") == ["a", "t", "shirt", "please"]


def test_captions_fit_clips_context():
    import open_clip

    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    seen = ALWAYS | {"bag", "hat", "inner", "upper_second", "logo", "glasses"}
    longest = 0
    for person in make_people(60, seed=0):
        for line in captions(person, "front", seen, np.random.default_rng(person.number), 6):
            longest = max(longest, len(tokenizer.encode(line)) + 2)
    assert longest <= 77
