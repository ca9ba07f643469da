"""Rankings by given scores."""

from __future__ import annotations

import math

import pytest
import torch

from reidtune.retrieval.dense import score_rows

FLOATS = [-3e38, -1.0 - 2**-23, -1.0, -1e-30, -1e-45, -0.0, 0.0, 1e-45, 1e-38, 1.0, 1.0 + 2**-23, 3e38]


@pytest.mark.parametrize("seed", range(8))
def test_score_rows_equals_sorting_for_every_kind_of_fp32(seed):
    """Denormal, negative, huge and neighbouring scores, both zeros (which are equal), and many ties."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.tensor(FLOATS)[torch.randint(len(FLOATS), (9, 30), generator=generator)]
    positive = torch.rand(9, 30, generator=generator) < torch.linspace(0, 1, 9)[:, None]
    dropped = torch.rand(9, 30, generator=generator) < 0.3
    kept = scores.clone(), positive.clone(), dropped.clone()
    found = score_rows(scores, positive, dropped)
    precision, penalty, first = found.average_precision, found.inverse_negative_penalty, found.first_hit
    for row in range(9):
        order = sorted((i for i in range(30) if not dropped[row, i]), key=lambda i: (-scores[row, i].item(), i))
        hits = [rank for rank, i in enumerate(order, 1) if positive[row, i]]
        if not hits:
            assert math.isnan(precision[row])
            assert math.isnan(penalty[row])
            assert first[row] == 0
            continue
        expected = math.fsum(number / rank for number, rank in enumerate(hits, 1)) / len(hits)
        assert precision[row].item() == pytest.approx(expected, abs=1e-12)
        assert penalty[row].item() == pytest.approx(len(hits) / hits[-1], abs=1e-12)
        assert first[row] == hits[0]
    assert first[0] == 0 < first[-1]  # no positive in the first row, positives alone in the last
    assert all(torch.equal(before, now) for before, now in zip(kept, (scores, positive, dropped), strict=True))
