"""Rankings by scores that are there already, such as re-ranked ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reidtune.retrieval.counting import before, count
from reidtune.retrieval.gathered import Counts
from reidtune.retrieval.queries import arrange
from reidtune.retrieval.result import Scores, score_ranks


def count_rows(scores: Tensor, positive: Tensor, dropped: Tensor | None = None) -> tuple[Counts, Tensor, Tensor]:
    """Counts, weights and nearness of every row, as :meth:`reidtune.retrieval.gathered.Gathered.add` takes them.
    ``scores`` are left as they are.

    Args:
        scores: fp32 [Q, G], finite, higher is better.
        positive: boolean [Q, G].
        dropped: boolean [Q, G], items that do not count, or ``None``.
    """
    if dropped is not None:
        positive = positive & ~dropped
    row, column = positive.nonzero(as_tuple=True)
    found = arrange(
        len(scores), row.numpy(), column.numpy(), scores[row, column].numpy(), np.ones(len(row), dtype=np.int64)
    )
    bounds, columns, weights = (torch.from_numpy(values) for values in found)
    negatives = scores.masked_fill(positive if dropped is None else positive | dropped, -torch.inf)
    above, equal, near = count(negatives.clone(), bounds, [(1, None)])
    ahead = before(negatives, bounds, columns, equal > 0) if equal.any() else torch.zeros_like(equal)
    return (above, equal, ahead), weights, near


def score_rows(scores: Tensor, positive: Tensor, dropped: Tensor | None = None) -> Scores:
    """Rank every row of ``scores``; of equal ones the first is better. See :func:`count_rows`."""
    (above, _, ahead), weights, _ = count_rows(scores, positive, dropped)
    return score_ranks(above + ahead, weights)
