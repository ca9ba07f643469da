"""Queries in tiles, each with the scores of its positives and with what must not count against them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidtune.retrieval.protocol import LEAVE_ONE_OUT, needs_places
from reidtune.retrieval.rows import FeatureRows, Index
from reidtune.retrieval.similarity import Block, Encoded, Similarity, padded
from reidtune.retrieval.sparse import spans

_BYTES = 2**25  # of query features that are held at a time
_PAIRS = 2**18  # of queries and gallery items of one identity, likewise
_TILE_PAIRS = 2**20  # a tile that would have more has fewer queries


@dataclass(frozen=True)
class Labels:
    """Of queries or gallery items, int64 [N] each. ``places`` are cameras or scenes; ``rows`` say which of both sides
    are the same sample; ``weights`` how many identical images an item stands for."""

    ids: Index
    places: Index | None
    rows: Index | None
    weights: Index | None = None


class Matches:
    """Which gallery items share something with which query, from an index of the gallery [G] by that."""

    def __init__(self, keys: Index) -> None:
        self.order = np.argsort(keys, kind="stable")
        self._sorted = keys[self.order]

    def ranges(self, keys: Index) -> tuple[Index, Index]:
        """Where in ``order`` the items of each key begin and end, [Q] each."""
        return np.searchsorted(self._sorted, keys, "left"), np.searchsorted(self._sorted, keys, "right")

    def of(self, keys: Index) -> tuple[Index, Index]:
        """(place of the key, gallery item) for all pairs, by key."""
        owner, place = spans(*self.ranges(keys))
        return owner, self.order[place]


def arrange(
    rows: int, row: Index, column: Index, score: NDArray[np.float32], weight: Index
) -> tuple[NDArray[np.float32], Index, Index]:
    """Positives (row, column) with score and weight [n] as ``bounds``, ``columns`` and ``weights`` of a tile."""
    best = np.lexsort((column, -score, row))
    row, column, score, weight = row[best], column[best], score[best], weight[best]
    number = np.bincount(row, minlength=rows)
    slot = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
    shape = (rows, max(1, int(number.max(initial=0))))
    bounds = np.full(shape, np.inf, np.float32)
    columns, weights = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    bounds[row, slot], columns[row, slot], weights[row, slot] = score, column, weight
    return bounds, columns, weights


@dataclass
class QueryTile:
    """Some queries ``places`` [n], encoded and padded to one block.

    ``bounds`` [n, P] are the scores of their positives, the highest first, infinite behind the last; equal ones stand
    by ``columns``, their places in the gallery. ``weights`` [n, P] count each, 0 behind the last. ``excluded`` are the
    pairs (row, column) that never count as negatives: positives and ignored items, by column.

    What is counted up, [n, P]: negatives ``above`` a positive, those ``equal`` to it, and of these the ones ``before``
    it in the gallery. ``near`` [n] says whether one is within a given distance of a positive.
    """

    places: Index
    encoded: Encoded
    bounds: Tensor
    columns: Tensor
    weights: Tensor
    excluded: tuple[Tensor, Tensor]
    above: Tensor = field(init=False)
    equal: Tensor = field(init=False)
    before: Tensor = field(init=False)
    near: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.above, self.equal, self.before = (torch.zeros_like(self.columns) for _ in range(3))
        self.near = torch.zeros(len(self.columns), dtype=torch.bool, device=self.columns.device)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def counts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.above, self.equal, self.before


class TileMaker:
    """Makes query tiles. ``kept`` [K] are the gallery items that are no junk; columns number these."""

    def __init__(
        self,
        queries: FeatureRows,
        items: FeatureRows,
        labels: tuple[Labels, Labels],
        kept: Index,
        protocol: str,
        similarity: Similarity,
        block: Block,
        device: torch.device,
    ) -> None:
        self.queries, self.items, self.kept = queries, items, kept
        self.similarity, self.block, self.device = similarity, block, device
        self._query, gallery = labels
        self._ids = Matches(gallery.ids[kept])
        self._weights = None if gallery.weights is None else gallery.weights[kept]
        self._places = gallery.places[kept] if needs_places(protocol) and gallery.places is not None else None
        self._rows = gallery.rows[kept] if protocol == LEAVE_ONE_OUT and gallery.rows is not None else None
        self._samples = None if self._rows is None else Matches(self._rows)

    def groups(self) -> Iterator[list[Index]]:
        """Places of the queries of tiles, some tiles at a time, so that both limits of memory hold. Queries of one
        identity stand together, for their positives are the same; those without an item are left out."""
        begin, end = self._ids.ranges(self._query.ids)
        number = end - begin
        order = np.lexsort((self._query.ids, -number))
        order = order[: int((number > 0).sum())]
        most = max(1, _BYTES // (4 * self.queries.width * self.block.queries))
        group: list[Index] = []
        pairs = start = 0
        while start < len(order):
            size = max(1, min(self.block.queries, _TILE_PAIRS // int(number[order[start]])))
            tile = order[start : start + size]
            more = int(number[tile].sum())
            if group and (len(group) == most or pairs + more > _PAIRS):
                yield group
                group, pairs = [], 0
            group.append(tile)
            pairs += more
            start += size
        if group:
            yield group

    def make(self, places: Index) -> QueryTile:
        """The tile of some queries, with the scores of its positives from products of the one shape."""
        encoded = self.similarity.query(self.queries.read(places, self.device), places)
        encoded = padded(encoded, self.block.queries)
        row, column = self._ids.of(self._query.ids[places])
        score = self._scores(encoded, row, column)
        weight = np.ones_like(column) if self._weights is None else self._weights[column]
        excluded = row, column
        if self._places is not None and self._query.places is not None:
            weight = np.where(self._query.places[places][row] == self._places[column], 0, weight)
        elif self._samples is not None and self._rows is not None and self._query.rows is not None:
            mine = self._query.rows[places]
            weight = weight - (mine[row] == self._rows[column])  # of identical images, one is the query itself
            same = self._samples.of(mine)
            excluded = np.concatenate([row, same[0]]), np.concatenate([column, same[1]])
        by_column = np.argsort(excluded[1], kind="stable")
        counted = weight > 0
        bounds, columns, weights = arrange(len(places), row[counted], column[counted], score[counted], weight[counted])
        return QueryTile(
            places,
            encoded,
            self._tensor(bounds),
            self._tensor(columns),
            self._tensor(weights),
            (self._tensor(excluded[0][by_column]), self._tensor(excluded[1][by_column])),
        )

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _scores(self, encoded: Encoded, row: Index, column: Index) -> NDArray[np.float32]:
        """Of the pairs [n] of a query and an item of its identity."""
        needed, where = np.unique(column, return_inverse=True)
        found = np.zeros(len(row), np.float32)
        step = self.block.items
        out = torch.empty(self.block.queries, step, dtype=torch.float32, device=self.device)
        for start in range(0, len(needed), step):
            rows = self.kept[needed[start : start + step]]
            items = padded(self.similarity.items(self.items.read(rows, self.device), rows), step)
            self.similarity.scores(encoded, items, self.block, out)
            here = (where >= start) & (where < start + step)
            found[here] = out[self._tensor(row[here]), self._tensor(where[here] - start)].cpu().numpy()
        return found
