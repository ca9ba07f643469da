"""Exact ranking: CMC, mAP and mINP of a query set against a gallery, in memory of one tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.retrieval.protocol import ALL, LEAVE_ONE_OUT, check_protocol, ignored, needs_places

TIE_RULE = "stable: equal scores keep gallery order"
JUNK = -1
SIMILARITIES = ("cosine", "euclidean")


@dataclass(frozen=True)
class RankResult:
    """What a ranking gives. ``average_precision``, ``inverse_negative_penalty`` (float64) and ``first_hit`` (rank from
    1 of the first positive, int64) are per query [Q]; NaN and 0 where a query was skipped.

    ``skipped_queries`` are the indices of queries without a positive; ``ignored`` counts junk items of the gallery.
    """

    average_precision: Tensor
    inverse_negative_penalty: Tensor
    first_hit: Tensor
    skipped_queries: tuple[int, ...]
    queries: int
    gallery: int
    ignored: int
    protocol: str
    tie_rule: str = field(default=TIE_RULE)

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


@torch.no_grad()
def rank(
    query: Any,
    gallery: Any,
    *,
    query_ids: Sequence[int] | Tensor,
    gallery_ids: Sequence[int] | Tensor,
    query_cameras: Sequence[int] | Tensor | None = None,
    gallery_cameras: Sequence[int] | Tensor | None = None,
    protocol: str = "cross-camera",
    similarity: str = "cosine",
    tile: int = 256,
) -> RankResult:
    """Rank the gallery for every query and score the ranking. Nothing is printed.

    Args:
        query: features [Q, D]; a tensor, an array or nested lists.
        gallery: features [G, D].
        query_ids: identities [Q].
        gallery_ids: identities [G]; −1 is junk and dropped, 0 an ordinary distractor.
        query_cameras: cameras (scenes for ``cross-scene``) [Q], where the protocol needs them.
        gallery_cameras: likewise [G].
        protocol: a name of :data:`reidtune.retrieval.protocol.PROTOCOLS`.
        similarity: ``cosine`` normalises the features; ``euclidean`` takes the squared distance of them as they are.
        tile: queries at a time; memory is about ``tile × G`` scores. Results do not depend on it beyond the last bits
            of fp32 products.

    Ties are broken by gallery order (stable). Average precision is the mean over positives of (positives so far) /
    rank, ranks counted after ignored items are taken out, in float64.

    Raises:
        SettingsError: shapes that do not fit, an unknown protocol or similarity, cameras missing.
        DataError: no query has a positive left.
        ReidtuneError: features that are not finite.
    """
    check_protocol(protocol)
    if similarity not in SIMILARITIES:
        raise SettingsError(f'Unknown similarity "{similarity}".', f"Choose one of {', '.join(SIMILARITIES)}.")
    queries, items = _features(query, "query"), _features(gallery, "gallery")
    if queries.shape[1] != items.shape[1]:
        raise SettingsError(f"Query features have {queries.shape[1]} columns, gallery features {items.shape[1]}.")
    ids, item_ids = _labels(query_ids, len(queries), "query_ids"), _labels(gallery_ids, len(items), "gallery_ids")
    places = item_places = None
    if needs_places(protocol):
        if query_cameras is None or gallery_cameras is None:
            raise SettingsError(
                f"The protocol {protocol} needs cameras (or scenes) of query and gallery.",
                "Use --protocol all, or leave-one-out where query and gallery are one set.",
            )
        places = _labels(query_cameras, len(queries), "query_cameras")
        item_places = _labels(gallery_cameras, len(items), "gallery_cameras")
    if protocol == LEAVE_ONE_OUT and len(queries) != len(items):
        raise SettingsError(
            f"leave-one-out needs one set as query and gallery, but there are {len(queries)} queries and "
            f"{len(items)} gallery items.",
            "Use --protocol all.",
        )
    rows, item_rows = torch.arange(len(queries)), torch.arange(len(items))
    kept = item_ids != JUNK
    junk = int((~kept).sum())
    items, item_ids, item_rows = items[kept], item_ids[kept], item_rows[kept]
    item_places = None if item_places is None else item_places[kept]
    if similarity == "cosine":
        queries, items = F.normalize(queries, dim=1), F.normalize(items, dim=1)

    precision = torch.full((len(queries),), torch.nan, dtype=torch.float64)
    penalty = precision.clone()
    first = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(queries), max(1, tile)):
        part = slice(start, start + max(1, tile))
        scores = _scores(queries[part], items, similarity)
        drop = ignored(
            protocol, ids[part], item_ids, None if places is None else places[part], item_places, rows[part], item_rows
        )
        order = scores.sort(dim=1, descending=True, stable=True).indices
        hits = (ids[part][:, None] == item_ids[None, :]).gather(1, order)
        counted = torch.ones_like(hits) if drop is None else ~drop.gather(1, order)
        hits &= counted
        position = counted.cumsum(1)
        for row, (found, ranks) in enumerate(zip(hits, position, strict=True)):
            positive = ranks[found].double()
            if len(positive):
                so_far = torch.arange(1, len(positive) + 1, dtype=torch.float64)
                precision[start + row] = (so_far / positive).mean()
                penalty[start + row] = len(positive) / positive[-1]
                first[start + row] = int(positive[0])
    skipped = tuple(int(index) for index in (first == 0).nonzero()[:, 0])
    if len(skipped) == len(queries):
        raise _nothing_to_score(protocol, ids, item_ids)
    return RankResult(precision, penalty, first, skipped, len(queries), len(items), junk, protocol)


def _scores(queries: Tensor, items: Tensor, similarity: str) -> Tensor:
    product = queries @ items.T
    if similarity == "cosine":
        return product
    return 2 * product - items.square().sum(1)[None, :]  # minus the squared distance, but for |q|², equal in a row


def _features(values: Any, name: str) -> Tensor:
    features = torch.as_tensor(values).detach().cpu().float()
    if features.ndim != 2 or not len(features):
        raise SettingsError(f"{name} features must have the shape [N, D] with N > 0, but have {tuple(features.shape)}.")
    finite = features.isfinite().all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise ReidtuneError(f"The {name} features of row {row} are not finite.", "The model that made them is broken.")
    return features


def _labels(values: Sequence[int] | Tensor, count: int, name: str) -> Tensor:
    labels = torch.as_tensor(values).detach().cpu()
    if labels.ndim != 1 or len(labels) != count:
        raise SettingsError(f"{name} must have the shape [{count}], but has {tuple(labels.shape)}.")
    return labels.to(torch.int64)


def _nothing_to_score(protocol: str, ids: Tensor, item_ids: Tensor) -> DataError:
    if not torch.isin(ids, item_ids).any():
        return DataError(
            f"None of the {len(ids)} queries can be scored: their identities do not occur in the gallery.",
            "Check that query and gallery are of one test split.",
        )
    return DataError(
        f"None of the {len(ids)} queries can be scored: the protocol {protocol} takes away every positive.",
        f"If cameras are unknown or there is only one, use --protocol {ALL} or {LEAVE_ONE_OUT}.",
    )
