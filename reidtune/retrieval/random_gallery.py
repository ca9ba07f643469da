"""The protocol of VehicleID (Liu et al., CVPR 2016): one random image of each identity is the gallery and the others
are queries, several times; metrics are means over these draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from reidtune.errors import DataError, SettingsError
from reidtune.retrieval.protocol import ALL, RANDOM_GALLERY
from reidtune.retrieval.rank import RankResult, rank
from reidtune.retrieval.result import Scores
from reidtune.retrieval.rows import FeatureRows
from reidtune.seeds import derive_seed

DRAWS = 10
_Sides = list[tuple[Tensor, Tensor]]  # of every draw the places of its queries, and of its gallery


class _OverDraws:
    """Metrics that are means of those of ``draws``."""

    draws: tuple[Scores, ...]

    @property
    def mean_average_precision(self) -> float:
        return fmean(draw.mean_average_precision for draw in self.draws)

    @property
    def mean_inverse_negative_penalty(self) -> float:
        return fmean(draw.mean_inverse_negative_penalty for draw in self.draws)

    def cmc(self, k: int) -> float:
        """The mean over the draws of the share of queries with their gallery image among the first ``k``."""
        return fmean(draw.cmc(k) for draw in self.draws)


@dataclass(frozen=True)
class DrawnScores(_OverDraws, Scores):
    """The mean of several ``draws``."""

    draws: tuple[Scores, ...] = ()


@dataclass(frozen=True)
class RandomGalleryResult(_OverDraws, RankResult):
    """The mean of several ``draws``. Counts and ``skipped_queries`` are those of the first draw, as are ``sides``:
    which items were its queries and its gallery, int64.

    What is per query [Q] is per item of the query side: ``average_precision`` and ``inverse_negative_penalty`` are
    means over the draws in which it was a query, ``first_hit`` the rank in the first of them; NaN and 0 where it never
    was one. ``tied_queries`` and ``near_queries`` are those that are it in any draw; ``best`` and ``worst`` are means
    as well, in which a draw without ties stands as it is.
    """

    draws: tuple[RankResult, ...] = ()
    sides: tuple[Tensor, Tensor] = (torch.empty(0), torch.empty(0))

    def deviation(self) -> dict[str, float]:
        """The standard deviation over the draws (of a sample: n − 1) of every metric; 0 of a single draw."""
        metrics = [draw.metrics() for draw in self.draws]
        return {name: stdev(one[name] for one in metrics) if len(metrics) > 1 else 0.0 for name in metrics[0]}


def draw_gallery(ids: Tensor, generator: torch.Generator) -> Tensor:
    """Which of the items of these identities, int64 [N], are the gallery of a draw, in order: of every identity one at
    random, each equally likely, and all distractors (identity 0)."""
    order = torch.randperm(len(ids), generator=generator)
    order = order[ids[order].sort(stable=True).indices]  # by identity, at random within each
    sorted_ids = ids[order]
    first = torch.ones(len(ids), dtype=torch.bool)
    first[1:] = sorted_ids[1:] != sorted_ids[:-1]
    return order[(first & (sorted_ids > 0)) | (sorted_ids == 0)].sort().values


def rank_random_galleries(
    query: Any,
    gallery: Any,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_rows: Tensor,
    gallery_rows: Tensor,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    **options: Any,
) -> RandomGalleryResult:
    """Rank each of ``draws`` random galleries by :func:`reidtune.retrieval.rank.rank`, which takes ``options``.

    Both sides are views of one set: features [Q, D] and [G, D], identities and ``rows`` (which sample of the set an
    item is), int64 [Q] and [G]. The gallery of a draw is taken from the gallery's items, and every item of the query
    side of another sample is a query; junk (−1) is neither, and distractors (0) are in every gallery. Draws are a
    function of ``seed`` and of the gallery's identities in their order alone.

    Raises:
        SettingsError: less than one draw.
        DataError: no identity has two samples, or no query can be scored.
    """
    if draws < 1:
        raise SettingsError(f"The number of draws is {draws}.", "Choose at least 1.")
    queries, items = FeatureRows(query, "query"), FeatureRows(gallery, "gallery")
    results: list[RankResult] = []
    sides: _Sides = []
    for number in range(draws):
        generator = torch.Generator().manual_seed(derive_seed(RANDOM_GALLERY, seed, number))
        chosen = draw_gallery(gallery_ids, generator)
        asks = (query_ids > 0) & ~torch.isin(query_rows, gallery_rows[chosen])
        if not asks.any():
            raise DataError(
                f"None of the {len(query_ids)} queries can be scored: no identity has two images, of which one could "
                "be the gallery and the other look for it.",
                "Check the labels, and that the archive was unpacked completely.",
            )
        asking = asks.nonzero()[:, 0]
        results.append(
            rank(
                queries.take(asking.numpy()),
                items.take(chosen.numpy()),
                query_ids=query_ids[asking],
                gallery_ids=gallery_ids[chosen],
                protocol=ALL,
                **options,
            )
        )
        sides.append((asking, chosen))
    first = results[0]
    tied = _in_any([result.tied_queries for result in results], sides)
    return RandomGalleryResult(
        **_per_query(len(query_ids), results, sides),
        skipped_queries=tuple(int(sides[0][0][place]) for place in first.skipped_queries),
        queries=first.queries,
        gallery=first.gallery,
        ignored=int((gallery_ids < 0).sum()),
        protocol=RANDOM_GALLERY,
        tied_queries=tied,
        best=_drawn(len(query_ids), [result.best or result for result in results], sides) if tied else None,
        worst=_drawn(len(query_ids), [result.worst or result for result in results], sides) if tied else None,
        near_queries=_in_any([result.near_queries for result in results], sides),
        draws=tuple(results),
        sides=sides[0],
    )


def _in_any(queries: list[tuple[int, ...]], sides: _Sides) -> tuple[int, ...]:
    """The items of the query side that are among the ``queries`` of any draw."""
    found = {int(asking[place]) for some, (asking, _) in zip(queries, sides, strict=True) for place in some}
    return tuple(sorted(found))


def _drawn(count: int, draws: Sequence[Scores], sides: _Sides) -> DrawnScores:
    return DrawnScores(**_per_query(count, draws, sides), draws=tuple(draws))


def _per_query(count: int, draws: Sequence[Scores], sides: _Sides) -> dict[str, Any]:
    return {
        "average_precision": _mean(count, draws, sides, lambda draw: draw.average_precision),
        "inverse_negative_penalty": _mean(count, draws, sides, lambda draw: draw.inverse_negative_penalty),
        "first_hit": _first_hits(count, draws, sides),
    }


def _mean(
    count: int,
    results: Sequence[Scores],
    sides: _Sides,
    values: Callable[[Scores], Tensor],
) -> Tensor:
    """[count] of what each item had in the draws in which it was a query; NaN where that is nothing."""
    total, number = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for result, (asking, _) in zip(results, sides, strict=True):
        scored = ~values(result).isnan()
        total[asking[scored]] += values(result)[scored]
        number[asking[scored]] += 1
    return total / number  # 0 / 0 is NaN


def _first_hits(count: int, results: Sequence[Scores], sides: _Sides) -> Tensor:
    hits = torch.zeros(count, dtype=torch.int64)
    for result, (asking, _) in zip(reversed(results), reversed(sides), strict=True):
        hits[asking] = result.first_hit.where(result.first_hit > 0, hits[asking])
    return hits
