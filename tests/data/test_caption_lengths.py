from __future__ import annotations

import sys

from open_clip.tokenizer import SimpleTokenizer

from reidtune.data.caption_lengths import caption_lengths, token_lengths
from tests.data.conftest import captioned

CAPTIONS = (
    "A man in a red coat, with a backpack.",
    "She's carrying a café-au-lait handbag &amp; blue/white sneakers!!",
    "un&shy;usual — «quotes» 東京 42nd  street",
    " ".join(["red"] * 75),
    " ".join(["red"] * 76),
    " ".join(["voil\u00c3\u00a0"] * 24),  # repaired as a whole: the second half of the letter counts as a space
    "",
)


def test_tokens_are_those_of_the_tokenizer():
    tokenizer = SimpleTokenizer()
    assert token_lengths(CAPTIONS) == [2 + len(tokenizer.encode(caption)) for caption in CAPTIONS]


def test_captions_over_the_limit_are_long_start_and_end_included():
    found = caption_lengths([captioned(1, *CAPTIONS[:5])])
    assert (found["long"], found["tokens"]["max"], found["counted_in"]) == (1, 78, "tokens")
    assert found["long_examples"] == [CAPTIONS[4]]


def test_words_are_counted_without_a_tokenizer(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip.tokenizer", None)
    found = caption_lengths([captioned(1, "red " * 62), captioned(2, "blue " * 63, "a")], tokens=False)
    assert (found["long"], found["tokens"], found["counted_in"]) == (1, None, "words")
    assert found["words"] == {"min": 1, "median": 62, "max": 63}
    assert found["per_image"] == {"min": 1, "median": 1.5, "max": 2}


def test_images_without_and_captions_of_several_identities():
    records = [captioned(1, "A man.", "a  man."), captioned(2, "a man."), captioned(2, "a boy"), captioned(3)]
    found = caption_lengths(records, tokens=False)
    assert (found["bare"], found["shared"], found["captions"]) == (1, 1, 4)
    assert caption_lengths([captioned(1)])["tokens"] is None
