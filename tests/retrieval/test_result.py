"""Metrics from the ranks of positives."""

from __future__ import annotations

import math

import pytest
import torch

from reidtune.retrieval.result import score_ranks


def test_average_precision_is_summed_in_double_precision():
    items = 100_000
    negatives = torch.arange(1, items + 1)[None]  # every second item is a positive, so that every precision is 1/2
    scores = score_ranks(negatives, torch.ones(1, items, dtype=torch.int64))
    assert scores.average_precision.item() == pytest.approx(0.5, abs=1e-14)
    assert scores.inverse_negative_penalty.item() == 0.5
    assert scores.first_hit.item() == 2


def test_by_hand():
    negatives = torch.tensor([[0, 0, 3], [2, 9, 9], [5, 5, 5]])
    weights = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    scores = score_ranks(negatives, weights)  # hits at 1, 2 and 6; at 3; none
    assert scores.average_precision.tolist()[:2] == pytest.approx([(1 + 1 + 3 / 6) / 3, 1 / 3], abs=1e-15)
    assert scores.inverse_negative_penalty.tolist()[:2] == pytest.approx([3 / 6, 1 / 3], abs=1e-15)
    assert scores.first_hit.tolist() == [1, 3, 0]
    assert math.isnan(scores.average_precision[2]) and math.isnan(scores.inverse_negative_penalty[2])


def test_a_weight_is_so_many_positives_side_by_side():
    negatives = torch.tensor([[1, 4, 6], [0, 0, 0], [0, 2, 7]])
    weights = torch.tensor([[2, 1, 3], [0, 0, 0], [5, 0, 0]])
    plain = torch.tensor([[1, 1, 4, 6, 6, 6], [0] * 6, [0] * 6]), torch.tensor([[1] * 6, [0] * 6, [1] * 5 + [0]])
    for name in ("average_precision", "inverse_negative_penalty", "first_hit"):
        one, other = (getattr(score_ranks(*case), name).nan_to_num(-1) for case in ((negatives, weights), plain))
        assert torch.equal(one, other)
