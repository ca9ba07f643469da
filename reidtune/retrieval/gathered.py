"""The scores of all queries, gathered from counts of some at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidtune.retrieval.result import RankResult, Scores, score_ranks

Counts = tuple[Tensor, Tensor, Tensor]  # negatives above each positive, equal to it, and of these those before it


class Gathered:
    """By gallery order, with the positives first in all ties, and with the positives last in them."""

    def __init__(self, queries: int) -> None:
        self.stable, self.best, self.worst = (Scores.empty(queries) for _ in range(3))
        self.tied, self.near = np.zeros(queries, bool), np.zeros(queries, bool)

    def add(self, places: NDArray[Any], counts: Counts, weights: Tensor, near: Tensor) -> None:
        """Of the queries ``places`` [n] the ``counts`` and ``weights`` of their positives, int64 [n, P] each, the best
        first (weights are 0 behind the last), and which [n] have a negative ``near`` one."""
        above, equal, before, weights = (values.cpu() for values in (*counts, weights))
        rows = torch.from_numpy(places)
        self.near[places] = near.cpu().numpy()
        self.tied[places] = (equal > 0).any(1).numpy()
        for scores, negatives in ((self.stable, before), (self.best, 0), (self.worst, equal)):
            part = score_ranks(above + negatives, weights)
            scores.average_precision[rows] = part.average_precision
            scores.inverse_negative_penalty[rows] = part.inverse_negative_penalty
            scores.first_hit[rows] = part.first_hit

    def result(self, queries: int, gallery: int, ignored: int, protocol: str) -> RankResult:
        tied = tuple(np.flatnonzero(self.tied).tolist())
        return RankResult(
            self.stable.average_precision,
            self.stable.inverse_negative_penalty,
            self.stable.first_hit,
            tuple((self.stable.first_hit == 0).nonzero()[:, 0].tolist()),
            queries,
            gallery,
            ignored,
            protocol,
            tied_queries=tied,
            best=self.best if tied else None,
            worst=self.worst if tied else None,
            near_queries=tuple(np.flatnonzero(self.near).tolist()),
        )
