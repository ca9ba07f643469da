"""Confidence intervals by drawing identities again (Efron 1979): images of one identity are not independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidtune.errors import SettingsError
from reidtune.retrieval.protocol import RANDOM_GALLERY
from reidtune.retrieval.result import RankResult

DRAWS, SEED, LEVEL = 1000, 0, 0.95
_AT_A_TIME = 100  # draws


@dataclass(frozen=True)
class Intervals:
    """``bounds`` (low, high) of each metric: percentiles of ``draws`` draws of the ``identities`` of scored queries.
    ``None`` where there is one identity only."""

    bounds: dict[str, tuple[float, float] | None]
    identities: int
    draws: int
    seed: int
    level: float = LEVEL

    def to_json(self) -> dict[str, Any]:
        return {
            "bounds": {name: None if pair is None else list(pair) for name, pair in self.bounds.items()},
            "level": self.level,
            "over": "query identities",
            "identities": self.identities,
            "draws": self.draws,
            "seed": self.seed,
        }


def confidence_intervals(
    result: RankResult, query_ids: Sequence[int] | Tensor, *, draws: int = DRAWS, seed: int = SEED
) -> Intervals:
    """95 % intervals of a ranking's metrics (``rank-1``, ``rank-5``, ``rank-10``, ``rank-20``, ``mAP``, ``mINP``).

    Each draw takes as many of the scored queries' identities as there are, with replacement, and every query of an
    identity with it; the metric is the mean over those queries. The gallery stays as it is: intervals say how much
    depends on the people that were asked for, nothing of the training.

    Args:
        query_ids: identities [Q] of the queries that were ranked.
        draws: how many; percentiles 2.5 and 97.5 of them are the bounds.

    Raises:
        SettingsError: other numbers of labels, no draw, or a mean over random galleries.
    """
    if result.protocol == RANDOM_GALLERY:
        raise SettingsError(
            "Means over random galleries have no intervals: which images are queries differs from draw to draw.",
            "Their deviation() says how much the draws differ; for intervals rank with leave-one-out.",
        )
    ids = np.asarray(query_ids)
    if ids.shape != (result.queries,) or draws < 1:
        raise SettingsError(f"{ids.shape} identities for {result.queries} queries, {draws} draws.")
    first = result.first_hit.numpy()
    scored = first > 0
    values = {f"rank-{k}": (first <= k).astype(np.float64) for k in (1, 5, 10, 20)}
    values["mAP"] = result.average_precision.numpy()
    values["mINP"] = result.inverse_negative_penalty.numpy()
    place = np.unique(ids[scored], return_inverse=True)[1]
    number = np.bincount(place)
    sums = np.stack([np.bincount(place, value[scored]) for value in values.values()], axis=1)  # [I, metrics]
    if len(number) < 2:
        return Intervals(dict.fromkeys(values), len(number), draws, seed)
    means = np.concatenate([drawn @ sums / (drawn @ number)[:, None] for drawn in weights(len(number), draws, seed)])
    bounds = [percentiles(column) for column in means.T]
    return Intervals(dict(zip(values, bounds, strict=True)), len(number), draws, seed)


def weights(count: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each of ``count`` identities is drawn: [some draws, count] at a time."""
    random = np.random.default_rng(seed)
    share = np.full(count, 1 / count)
    for start in range(0, draws, _AT_A_TIME):
        yield random.multinomial(count, share, size=min(_AT_A_TIME, draws - start)).astype(np.float64)


def percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def threshold_interval(
    histograms: Tensor, share: float, edge: Callable[[NDArray[np.float64]], NDArray[np.float64]], draws: int, seed: int
) -> tuple[float, float] | None:
    """The interval of the score that a ``share`` of values reaches; ``None`` where fewer than two identities have
    values. Draws of identities without any say nothing and are left out.

    Args:
        histograms: how many values of each identity lie in each cell, [I, cells], float32.
        edge: the lower edges of cells, of which the numbers may be fractions.
    """
    if int(histograms.any(1).sum()) < 2:
        return None
    found = []
    for drawn in weights(len(histograms), draws, seed):
        pooled = (torch.from_numpy(drawn).float() @ histograms).double().numpy()
        reached = np.cumsum(pooled[:, ::-1], axis=1)[:, ::-1]  # [draws, cells]: values in this cell or a higher one
        some = reached[:, 0] > 0
        pooled, reached = pooled[some], reached[some]
        allowed = share * reached[:, 0]
        cell = (reached > allowed[:, None]).sum(axis=1) - 1  # the last one that too many values reach
        row = np.arange(len(cell))
        excess = (reached[row, cell] - allowed) / pooled[row, cell]
        found.append(edge(cell + np.minimum(excess, 1.0)))
    values = np.concatenate(found)
    return percentiles(values) if len(values) else None
