from __future__ import annotations

import time

import pytest
import torch

from reidtune.data import mask_words
from reidtune.errors import SettingsError

START, END, MASK = 49406, 49407, 49405


def caption(*words, length=77):
    return [START, *words, END, *[0] * (length - len(words) - 2)]


def captions(number, words=40, length=77):
    """Ids [number, length] of the words 1000, 1001 …"""
    return torch.tensor([caption(*range(1000, 1000 + words), length=length)] * number)


def test_of_the_words_15_percent_are_chosen_and_shared_80_10_10():
    before = captions(4000)
    after = mask_words(before, range(4000))
    words = after[:, 1:41]
    masked = (words == MASK).double().mean().item()
    changed = (words != before[:, 1:41]).double().mean().item()
    assert masked == pytest.approx(0.15 * 0.8, abs=0.003)  # 160,000 words: a standard deviation is 0.0008
    assert changed - masked == pytest.approx(0.15 * 0.1, abs=0.0012)
    for place in (0, 20, 39):
        assert (words[:, place] == MASK).double().mean().item() == pytest.approx(0.12, abs=0.02)


def test_a_probability_of_one_shows_the_tenth_that_stays():
    before = captions(2000)
    words = mask_words(before, range(2000), probability=1.0)[:, 1:41]
    assert (words == before[:, 1:41]).double().mean().item() == pytest.approx(0.1, abs=0.005)
    random = words[(words != MASK) & (words != before[:, 1:41])].double()
    assert random.min() >= 1
    assert random.max() > 49_300
    assert random.mean().item() == pytest.approx(MASK / 2, rel=0.02)
    assert random.std().item() == pytest.approx(MASK / 12**0.5, rel=0.02)


def test_start_end_and_padding_are_never_touched():
    before = captions(500, words=5, length=12)
    after = mask_words(before, range(500), probability=1.0)
    outside = torch.tensor([0, 6, 7, 8, 9, 10, 11])
    assert torch.equal(after[:, outside], before[:, outside])
    assert (after[:, 1:6] < START).all()
    assert (after[:, 1:6] > 0).all()


def test_one_word_is_chosen_where_none_would_be():
    before = captions(3000, words=3)
    after = mask_words(before, range(3000), probability=1e-9)
    changed = (after != before).sum(1)
    assert set(changed.tolist()) == {0, 1}  # chosen, and one in ten stays
    assert changed.double().mean().item() == pytest.approx(0.9, abs=0.02)
    for place in (1, 2, 3):
        assert (after[:, place] != before[:, place]).double().mean().item() == pytest.approx(0.3, abs=0.04)


def test_captions_without_words_stay_as_they_are():
    ids = torch.tensor([caption(length=8), caption(7, 8, length=8)])
    after = mask_words(ids, [1, 2], probability=1.0)
    assert torch.equal(after[0], ids[0])
    assert mask_words(ids[:0], []).shape == (0, 8)


def test_a_caption_follows_from_its_seed_alone():
    long, short = captions(6, words=9), captions(6, words=9, length=11)
    seeds = [5, 2**62, 7, 0, 11, 5]
    after = mask_words(long, seeds)
    assert torch.equal(after, mask_words(long, seeds))
    assert torch.equal(after[:, :11], mask_words(short, seeds))
    assert torch.equal(after[2:4], mask_words(long[2:4], seeds[2:4]))
    assert torch.equal(after[0], after[5])
    assert not torch.equal(after[0], after[1])


def test_the_input_and_the_callers_random_numbers_are_left_alone():
    ids = captions(8)
    before, state = ids.clone(), torch.get_rng_state()
    after = mask_words(ids, range(8), probability=1.0)
    assert torch.equal(ids, before)
    assert after.data_ptr() != ids.data_ptr()
    assert torch.equal(torch.get_rng_state(), state)


def test_ids_of_another_tokenizer_are_refused():
    with pytest.raises(SettingsError, match="CLIP's tokenizer"):
        mask_words(torch.tensor([[101, 5, 600, 102, 0]]), [0])
    with pytest.raises(SettingsError, match="CLIP's tokenizer"):
        mask_words(torch.tensor([caption(5, length=6), [7, 5, 6, 8, 0, 0]]), [0, 1])


def test_a_batch_takes_milliseconds():
    ids = captions(128)
    mask_words(ids, range(128))
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        mask_words(ids, range(128))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.005
