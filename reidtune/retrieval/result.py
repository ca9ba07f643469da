"""What a ranking gives: CMC, mAP and mINP from the ranks of the positives."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from reidtune.errors import SettingsError

TIE_RULE = "stable: equal scores keep gallery order"


@dataclass(frozen=True)
class Scores:
    """Of every query [Q]: ``average_precision`` and ``inverse_negative_penalty`` (float64, NaN where it was skipped)
    and ``first_hit`` (rank from 1 of the first positive, int64, 0 where it was skipped)."""

    average_precision: Tensor
    inverse_negative_penalty: Tensor
    first_hit: Tensor

    @classmethod
    def empty(cls, queries: int) -> Scores:
        nothing = torch.full((queries,), torch.nan, dtype=torch.float64)
        return cls(nothing, nothing.clone(), torch.zeros(queries, dtype=torch.int64))

    @property
    def mean_average_precision(self) -> float:
        return float(self.average_precision.nanmean())

    @property
    def mean_inverse_negative_penalty(self) -> float:
        """mINP (Ye et al. 2021, Eq. 8): the mean of positives / rank of the last positive."""
        return float(self.inverse_negative_penalty.nanmean())

    def cmc(self, k: int) -> float:
        """Share of scored queries with a positive among the first ``k`` counted items.

        Raises:
            SettingsError: ``k`` is less than 1.
        """
        if k < 1:
            raise SettingsError(f"A rank starts at 1, but cmc({k}) was asked for.")
        scored = self.first_hit > 0
        return float((self.first_hit[scored] <= k).double().mean())

    def metrics(self) -> dict[str, float]:
        """``rank-1``, ``rank-5``, ``rank-10``, ``rank-20``, ``mAP`` and ``mINP`` as fractions."""
        return {
            **{f"rank-{k}": self.cmc(k) for k in (1, 5, 10, 20)},
            "mAP": self.mean_average_precision,
            "mINP": self.mean_inverse_negative_penalty,
        }


@dataclass(frozen=True)
class RankResult(Scores):
    """Also ``skipped_queries``, the indices of queries without a positive, and ``ignored``, the number of junk items of
    the gallery; ``gallery`` counts the others.

    ``tied_queries`` are those where a negative has exactly the score of a positive. ``best`` and ``worst`` are the
    scores if all positives stood before, or behind, the negatives that equal them; ``None`` without ties.
    ``near_queries`` are those with a negative within 1e-6 of a positive's score (of scores beyond 2, within four times
    fp32's epsilon of them), tied ones included: what another device or library may rank otherwise.
    """

    skipped_queries: tuple[int, ...]
    queries: int
    gallery: int
    ignored: int
    protocol: str
    tie_rule: str = field(default=TIE_RULE)
    tied_queries: tuple[int, ...] = ()
    best: Scores | None = None
    worst: Scores | None = None
    near_queries: tuple[int, ...] = ()

    @property
    def near_ties(self) -> int:
        """The number of ``near_queries``."""
        return len(self.near_queries)


def score_ranks(negatives: Tensor, weights: Tensor) -> Scores:
    """Scores of queries by the ``negatives`` in front of each of their positives, int64 [Q, P], the best positive
    first; ``weights`` [Q, P] say how often each counts, 0 behind a query's last.

    The k-th positive has the rank r_k = k + its negatives; AP = (1/P) Σ k / r_k, INP = P / r_P (Ye et al. 2021, Eq. 8).
    """
    scores = Scores.empty(len(negatives))
    if (weights > 1).any():
        negatives, weights = _expanded(negatives, weights)
    number = weights.sum(1)
    scored = number > 0
    hits = torch.arange(1, negatives.shape[1] + 1)
    ranks = (negatives + hits)[scored]
    number = number[scored]
    shares = (hits / ranks.double()).where(weights[scored] > 0, 0.0)
    last = ranks.gather(1, number[:, None] - 1)[:, 0]
    # Summed one by one: the same bits however many columns stand behind a query's last positive.
    scores.average_precision[scored] = shares.cumsum(1)[:, -1] / number
    scores.inverse_negative_penalty[scored] = number / last.double()
    scores.first_hit[scored] = ranks[:, 0]
    return scores


def _expanded(negatives: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The same with a column for each of several identical positives, all of weight 1."""
    number = weights.sum(1)
    columns = torch.arange(int(number.max()))
    source = torch.searchsorted(weights.cumsum(1), columns.expand(len(weights), -1).contiguous(), right=True)
    used = (columns < number[:, None]).long()
    return negatives.gather(1, source.clamp(max=weights.shape[1] - 1)), used
