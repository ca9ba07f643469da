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

from reidtune.errors import SettingsError
from reidtune.retrieval.arguments import JUNK, features_of, labels_of, nothing_to_score
from reidtune.retrieval.dense import count_rows
from reidtune.retrieval.gathered import Gathered
from reidtune.retrieval.protocol import RANDOM_GALLERY, ignored
from reidtune.retrieval.result import RankResult
from reidtune.retrieval.shared import SharedGallery, anything_missing
from reidtune.retrieval.similarity import squares, unit

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
    """Pairs of these arguments of :func:`reidtune.retrieval.rank.rank`, which explains them.

    Raises:
        SettingsError: shapes that do not fit, labels that are no integers, an unknown protocol or similarity, cameras
            missing.
        DataError: all of the gallery is junk, or a file cannot be read.
        ReidtuneError: features that are not finite, or too large for a squared distance in fp32.
    """
    if protocol == RANDOM_GALLERY:  # else a query would be compared with itself
        raise SettingsError(f"The protocol {protocol} draws galleries to rank, not pairs.", "Use leave-one-out.")
    rows, item_rows = features_of(query, gallery, protocol, similarity, pieces)
    labels, others = labels_of(
        protocol,
        (query_ids, query_cameras, query_rows, len(rows)),
        (gallery_ids, gallery_cameras, gallery_rows, len(item_rows)),
    )
    every, kept = np.arange(len(rows)), np.flatnonzero(others.ids != JUNK)
    if not len(kept):
        raise nothing_to_score(protocol, labels.ids, others.ids[kept])
    queries, items = rows.whole(), item_rows.read(kept)
    if similarity == "cosine":
        queries, items = unit(queries, every, "query"), unit(items, kept, "gallery")
    else:
        squares(queries, every, "query"), squares(items, kept, "gallery")  # which refuse what is too large
    return Pairs(
        queries,
        items,
        torch.tensor(labels.ids),
        torch.tensor(others.ids[kept]),
        None if labels.places is None else torch.tensor(labels.places),
        None if others.places is None else torch.tensor(others.places[kept]),
        torch.tensor(every if labels.rows is None else labels.rows),
        torch.tensor(kept if others.rows is None else others.rows[kept]),
        protocol,
        similarity,
        pieces,
        torch.tensor(others.ids != JUNK),
    )


def own_places(pairs: Pairs, same: tuple[Tensor, Tensor]) -> Tensor:
    """Where in the gallery each query stands itself, int64 [Q], −1 where it does not. ``same`` are names of queries [Q]
    and gallery items [G]: those of one name and equal features are one sample."""
    names, order = same[1].sort(stable=True)
    found = order[torch.searchsorted(names, same[0].contiguous()).clamp(max=len(names) - 1)]
    one = (same[1][found] == same[0]) & (pairs.query == pairs.gallery[found]).all(1)
    return found.where(one, -1)


def rank_scores(pairs: Pairs, scores: Iterable[tuple[slice, Tensor]] | None = None) -> RankResult:
    """What :func:`reidtune.retrieval.rank.rank` gives, of other scores than those of the features.

    Args:
        pairs: whose labels and protocol count.
        scores: which queries, and their scores [q, G], float32, higher is nearer; in order, all queries. Default: those
            of the pairs.

    Raises:
        DataError: no query has a positive left.
    """
    gathered = Gathered(len(pairs.query))
    for tile in pairs.tiles(scores):
        counts, weights, near = count_rows(tile.scores, tile.positive, tile.dropped)
        gathered.add(np.arange(tile.part.start, tile.part.stop), counts, weights, near)
    if not (gathered.stable.first_hit > 0).any():
        ids, item_ids = pairs.query_ids.numpy(), pairs.gallery_ids.numpy()
        one_set = torch.equal(pairs.query_ids, pairs.gallery_ids) and torch.equal(pairs.query, pairs.gallery)
        raise nothing_to_score(pairs.protocol, ids, item_ids, one_set)
    items = len(pairs.gallery)
    return gathered.result(len(pairs.query), items, len(pairs.kept) - items, pairs.protocol)
