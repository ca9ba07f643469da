"""Queries and a gallery ready to be compared, and everything that is computed from their scores a tile at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.errors import DataError, SettingsError
from reidtune.retrieval.dense import score_rows
from reidtune.retrieval.protocol import LEAVE_ONE_OUT, RANDOM_GALLERY, check_protocol, ignored, needs_places
from reidtune.retrieval.rank import JUNK, SIMILARITIES, RankResult
from reidtune.retrieval.shared import SharedGallery, anything_missing

_ENTRIES = 2**21  # scores at a time: 8 MB


@dataclass(frozen=True)
class Tile:
    """Some queries against the gallery, [q, G] each: scores, which items are of the query's identity, and which do not
    count (``None``: all do). A positive that does not count is none."""

    part: slice
    scores: Tensor
    positive: Tensor
    dropped: Tensor | None


@dataclass(frozen=True)
class Pairs:
    """Queries [Q] and a gallery [G] without junk. Features are of length 1 unless they are compared by Euclidean
    distance; labels are int64. ``kept`` says which of the gallery items that were given are in it.

    ``rows`` say which samples of both sides are the same one, under ``leave-one-out``.
    """

    query: Tensor
    gallery: Tensor
    query_ids: Tensor
    gallery_ids: Tensor
    query_places: Tensor | None
    gallery_places: Tensor | None
    query_rows: Tensor
    gallery_rows: Tensor
    protocol: str
    similarity: str
    pieces: int
    kept: Tensor

    @cached_property
    def squares(self) -> Tensor | None:
        """The gallery's |f|² [G], for Euclidean distances."""
        return None if self.similarity == "cosine" else self.gallery.square().sum(1)

    @cached_property
    def shared(self) -> SharedGallery | None:
        """How samples are compared of which some lack a modality."""
        if self.similarity != "cosine" or not (
            anything_missing(self.query, self.pieces) or anything_missing(self.gallery, self.pieces)
        ):
            return None
        return SharedGallery(self.gallery, self.pieces)

    def parts(self) -> Iterator[slice]:
        """Queries, as many at a time as make a tile."""
        step = max(1, _ENTRIES // max(1, len(self.gallery)))
        for start in range(0, len(self.query), step):
            yield slice(start, min(start + step, len(self.query)))

    def scores(self, part: slice) -> Tensor:
        """[q, G], float32, higher is nearer: the cosine, or minus the squared distance."""
        queries = self.query[part]
        with torch.autocast("cpu", enabled=False):
            if self.shared is not None:
                return self.shared.scores(queries)
            product = queries @ self.gallery.T
        if self.squares is None:
            return product
        return product.mul_(2).sub_(self.squares[None, :]).sub_(queries.square().sum(1)[:, None])

    def tiles(self, scores: Iterable[tuple[slice, Tensor]] | None = None) -> Iterator[Tile]:
        """All queries, by :meth:`scores` or by others (which queries, and their scores [q, G], in order)."""
        for part, values in scores if scores is not None else ((part, self.scores(part)) for part in self.parts()):
            dropped = ignored(
                self.protocol,
                self.query_ids[part],
                self.gallery_ids,
                None if self.query_places is None else self.query_places[part],
                self.gallery_places,
                self.query_rows[part],
                self.gallery_rows,
            )
            yield Tile(part, values, self.query_ids[part][:, None] == self.gallery_ids[None, :], dropped)

    def complete(self) -> Pairs:
        """The same with every missing modality taken to be the gallery's mean of it, so that any two samples can be
        compared by one cosine."""
        if self.shared is None:
            return self
        query, gallery = (
            F.normalize(features.reshape(len(features), self.pieces, -1), dim=2)
            for features in (self.query, self.gallery)
        )
        means = gallery.sum(0) / gallery.any(2).sum(0).clamp(min=1)[:, None]
        sides = [torch.where(parts.any(2, keepdim=True), parts, means).flatten(1) for parts in (query, gallery)]
        return replace(self, query=F.normalize(sides[0]), gallery=F.normalize(sides[1]))


def make_pairs(
    query: Any,
    gallery: Any,
    *,
    query_ids: Sequence[int] | Tensor,
    gallery_ids: Sequence[int] | Tensor,
    query_cameras: Sequence[int] | Tensor | None = None,
    gallery_cameras: Sequence[int] | Tensor | None = None,
    query_rows: Sequence[int] | Tensor | None = None,
    gallery_rows: Sequence[int] | Tensor | None = None,
    protocol: str = "cross-camera",
    similarity: str = "cosine",
    pieces: int = 1,
) -> Pairs:
    """Pairs of the arguments of :func:`reidtune.retrieval.rank.rank`, which explains them.

    Raises:
        SettingsError: shapes that do not fit, an unknown protocol or similarity, cameras missing.
        DataError: features that are not finite.
    """
    check_protocol(protocol)
    if protocol == RANDOM_GALLERY:  # else a query would be compared with itself
        raise SettingsError(f"The protocol {protocol} draws galleries to rank, not pairs.", "Use leave-one-out.")
    if similarity not in SIMILARITIES:
        raise SettingsError(f'Unknown similarity "{similarity}".', f"Choose one of {', '.join(SIMILARITIES)}.")
    queries, items = _features(query, "query"), _features(gallery, "gallery")
    if queries.shape[1] != items.shape[1] or pieces < 1 or queries.shape[1] % pieces:
        raise SettingsError(
            f"Query features of {queries.shape[1]} columns, gallery features of {items.shape[1]}, {pieces} parts.",
            "Both have the same number of columns, a multiple of the parts.",
        )
    counts = len(queries), len(items)
    ids, item_ids = _labels(query_ids, counts[0], "query_ids"), _labels(gallery_ids, counts[1], "gallery_ids")
    places = item_places = None
    if needs_places(protocol):
        if query_cameras is None or gallery_cameras is None:
            raise SettingsError(
                f"The protocol {protocol} needs cameras (or scenes) of query and gallery.", "Use the protocol all."
            )
        places = _labels(query_cameras, counts[0], "query_cameras")
        item_places = _labels(gallery_cameras, counts[1], "gallery_cameras")
    if protocol == LEAVE_ONE_OUT and query_rows is None and counts[0] != counts[1]:
        raise SettingsError("leave-one-out needs one set as query and gallery.", "Use the protocol all.")
    rows = _labels(range(counts[0]) if query_rows is None else query_rows, counts[0], "query_rows")
    item_rows = _labels(range(counts[1]) if gallery_rows is None else gallery_rows, counts[1], "gallery_rows")
    kept = item_ids != JUNK
    if not kept.all():
        items, item_ids, item_rows = items[kept], item_ids[kept], item_rows[kept]
        item_places = None if item_places is None else item_places[kept]
    if similarity == "cosine":
        queries, items = _unit(queries), _unit(items)
    return Pairs(
        queries, items, ids, item_ids, places, item_places, rows, item_rows, protocol, similarity, pieces, kept
    )


def rank_scores(pairs: Pairs, scores: Iterable[tuple[slice, Tensor]] | None = None) -> RankResult:
    """What :func:`reidtune.retrieval.rank.rank` gives, of other scores than those of the features.

    Args:
        pairs: whose labels and protocol count.
        scores: which queries, and their scores [q, G], float32, higher is nearer; in order, all queries. Default: those
            of the pairs.

    Raises:
        DataError: no query has a positive left.
    """
    count = len(pairs.query)
    precision = torch.full((count,), torch.nan, dtype=torch.float64)
    penalty, first = precision.clone(), torch.zeros(count, dtype=torch.int64)
    for tile in pairs.tiles(scores):
        part = tile.part
        found = score_rows(tile.scores, tile.positive, tile.dropped)
        precision[part], penalty[part] = found.average_precision, found.inverse_negative_penalty
        first[part] = found.first_hit
    skipped = tuple((first == 0).nonzero()[:, 0].tolist())
    if len(skipped) == count:
        raise DataError(f"None of the {count} queries can be scored: none has a positive.", "Use the protocol all.")
    junk = len(pairs.kept) - len(pairs.gallery)
    return RankResult(
        average_precision=precision,
        inverse_negative_penalty=penalty,
        first_hit=first,
        skipped_queries=skipped,
        queries=count,
        gallery=len(pairs.gallery),
        ignored=junk,
        protocol=pairs.protocol,
    )


def _features(values: Any, name: str) -> Tensor:
    if isinstance(values, Tensor):
        features = values.detach().to("cpu", torch.float32)
    else:
        with np.errstate(over="ignore"):
            features = torch.from_numpy(np.require(np.asarray(values), np.float32, ["C", "W"]))
    if features.ndim != 2 or not features.numel():
        raise SettingsError(
            f"{name} features must have the shape [N, D] with N, D > 0, but have {tuple(features.shape)}."
        )
    if not features.isfinite().all():
        raise DataError(f"The {name} features are not finite.", "The model that made them is broken.")
    return features


def _unit(features: Tensor) -> Tensor:
    largest = features.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)  # no square overflows
    return F.normalize(features / largest)


def _labels(values: Any, count: int, name: str) -> Tensor:
    labels = torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values)).cpu()
    if labels.shape != (count,) or labels.is_floating_point():
        raise SettingsError(f"{name} must be {count} integers, but have the shape {list(labels.shape)}.")
    return labels.to(torch.int64)
