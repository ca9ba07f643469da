from __future__ import annotations

import pytest
import torch

from reidtune.data.batch import dropout_seeds
from reidtune.data.modality_dropout import drop_modalities
from reidtune.errors import SettingsError

ALL = torch.ones(4000, 3, dtype=torch.bool)
SEEDS = dropout_seeds(0, 0, 0, 4000)


def test_what_a_sample_loses_follows_from_its_seed_alone():
    whole = drop_modalities(ALL, SEEDS, 0.4)
    assert torch.equal(whole[100:120], drop_modalities(ALL[:20], SEEDS[100:120], 0.4))
    assert torch.equal(whole.flip(0), drop_modalities(ALL, SEEDS.flip(0), 0.4))
    assert not torch.equal(whole, drop_modalities(ALL, dropout_seeds(0, 1, 0, 4000), 0.4))
    torch.manual_seed(0)
    first = torch.rand(3)
    torch.manual_seed(0)
    drop_modalities(ALL[:4], SEEDS[:4], 0.4)
    assert torch.equal(first, torch.rand(3))


def test_each_modality_is_dropped_with_the_probability_and_one_always_stays():
    """P(kept) of one of three is 1 − p, and p³ / 3 more: the share of the cases in which it is the one that stays."""
    kept = drop_modalities(ALL, SEEDS, 0.5)
    assert bool(kept.any(1).all())
    expected = 0.5 + 0.5**3 / 3
    assert kept.float().mean(0).tolist() == pytest.approx([expected] * 3, abs=0.03)
    pairs = (kept[:, 0] & kept[:, 1]).float().mean().item()
    assert pairs == pytest.approx(0.25, abs=0.03)


def test_with_probability_1_one_stays_and_each_is_as_likely():
    kept = drop_modalities(ALL, SEEDS, 1.0)
    assert kept.sum(1).tolist() == [1] * 4000
    assert kept.float().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_with_probability_0_nothing_changes():
    present = torch.rand(50, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    given = present.clone()
    assert torch.equal(drop_modalities(present, SEEDS[:50], 0.0), given)
    assert torch.equal(present, given)


def test_what_is_missing_stays_missing_and_is_never_the_one_that_stays():
    present = torch.tensor([[True, False, True], [False, True, False]]).repeat(500, 1)
    kept = drop_modalities(present, SEEDS[:1000], 0.9)
    assert not bool((kept & ~present).any())
    assert bool(kept.any(1).all())
    assert kept[::2, 0].float().mean().item() == pytest.approx(0.1 + 0.9**2 / 2, abs=0.06)
    assert bool(kept[1::2, 1].all())


def test_no_samples_and_a_probability_out_of_range():
    assert drop_modalities(ALL[:0], SEEDS[:0], 0.5).shape == (0, 3)
    for value in (-0.1, 1.5):
        with pytest.raises(SettingsError, match=str(value)):
            drop_modalities(ALL[:2], SEEDS[:2], value)
