"""Counting the negatives in front of every positive, tile by tile of the gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reidtune.retrieval.queries import QueryTile
from reidtune.retrieval.rows import FeatureRows, Index
from reidtune.retrieval.similarity import Block, Encoded, Similarity, padded

NEAR = 1e-6  # scores this close may change places on another device,
_NEAR_SHARE = 4 * torch.finfo(torch.float32).eps  # and so may larger ones that are this share of themselves apart
_LARGEST = 2**21  # entries of a gallery tile, 8 MB of fp32


class Counter:
    """Counts a gallery, of which ``kept`` are the items that are ranked and ``weights`` how often each counts, against
    query tiles. ``tile`` items are scored at a time, rounded up to whole blocks."""

    def __init__(
        self,
        items: FeatureRows,
        kept: Index,
        weights: Index | None,
        similarity: Similarity,
        block: Block,
        device: torch.device,
        tile: int,
    ) -> None:
        self.items, self.kept, self.weights = items, kept, weights
        self.similarity, self.block, self.device = similarity, block, device
        self.tile = block.items_padded(tile)
        self._lock = Lock()

    def starts(self) -> range:
        return range(0, len(self.kept), self.tile)

    def add(self, start: int, tiles: Sequence[QueryTile]) -> None:
        """Count the gallery tile that begins at ``start``.

        Raises:
            ReidtuneError: features of it that cannot be ranked.
        """
        rows = self.kept[start : start + self.tile]
        width = self.block.items_padded(len(rows))
        encoded = padded(self.similarity.items(self.items.read(rows, self.device), rows), width)
        layers = self._layers(start, len(rows))
        buffer = torch.empty(self.block.queries, width, dtype=torch.float32, device=self.device)
        for tile in tiles:
            scores = self._scores(tile, encoded, start, len(rows), buffer)
            above, equal, near = count(scores, tile.bounds, layers)
            stop = start + len(rows)
            behind = equal.where(tile.columns >= stop, 0)
            inside = (tile.columns >= start) & (tile.columns < stop) & (equal > 0)
            if inside.any():
                scores = self._scores(tile, encoded, start, len(rows), buffer)  # once more, for counting sorts them
                weights = None if self.weights is None else self._tensor(self.weights[start:stop])
                behind += before(scores[:, : len(rows)], tile.bounds, tile.columns - start, inside, weights)
            with self._lock:
                tile.above += above
                tile.equal += equal
                tile.before += behind
                tile.near |= near

    def _layers(self, start: int, number: int) -> list[tuple[int, Tensor | None]]:
        """Weights by their binary digits: (2^b, columns of the tile with this digit), ``None`` for all of them."""
        if self.weights is None:
            return [(1, None)]
        weights = self.weights[start : start + number]
        digits = range(int(weights.max()).bit_length())
        layers = ((1 << digit, np.flatnonzero(weights >> digit & 1)) for digit in digits)
        return [(value, self._tensor(places)) for value, places in layers if len(places)]

    def _tensor(self, values: Index) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _scores(self, tile: QueryTile, encoded: Encoded, start: int, count: int, buffer: Tensor) -> Tensor:
        """Of the queries of a tile and all that can be negatives, [n, N]; minus infinity elsewhere."""
        self.similarity.scores(tile.encoded, encoded, self.block, buffer)
        row, column = tile.excluded
        first, last = np.searchsorted(column.cpu().numpy(), (start, start + count))
        buffer[row[first:last], column[first:last] - start] = -torch.inf
        buffer[:, count:] = -torch.inf
        return buffer[: len(tile)]


def before(scores: Tensor, bounds: Tensor, columns: Tensor, inside: Tensor, weights: Tensor | None = None) -> Tensor:
    """How many scores [n, N] of a row are equal to a bound [n, P] and stand before its column [n, P]; 0 where not
    ``inside`` [n, P]."""
    found = torch.zeros_like(columns)
    places = torch.arange(scores.shape[1], device=scores.device)
    for slot in inside.any(0).nonzero()[:, 0].tolist():
        row = inside[:, slot].nonzero()[:, 0]
        equal = scores[row] == bounds[row, slot, None]
        equal &= places < columns[row, slot, None]
        found[row, slot] = equal.sum(1) if weights is None else (equal * weights).sum(1)
    return found


def count(scores: Tensor, bounds: Tensor, layers: Sequence[tuple[int, Tensor | None]]) -> tuple[Tensor, Tensor, Tensor]:
    """How many scores [n, N] of a row are above each bound [n, P], how many equal to it, and whether [n] one is near.
    The scores are sorted in place."""
    above, equal = torch.zeros_like(bounds, dtype=torch.int64), torch.zeros_like(bounds, dtype=torch.int64)
    near = torch.zeros(len(bounds), dtype=torch.bool, device=bounds.device)
    largest = torch.finfo(bounds.dtype).max  # nothing is near an infinite bound
    close = (bounds.abs().clamp(max=largest) * _NEAR_SHARE).clamp(min=NEAR)
    for weight, columns in layers:
        ascending = _sort(scores if columns is None else scores[:, columns])
        stop = torch.searchsorted(ascending, bounds, right=True)
        lower = ascending.gather(1, (stop - 1).clamp(min=0))
        higher = ascending.gather(1, stop.clamp(max=ascending.shape[1] - 1))
        above += weight * (ascending.shape[1] - stop)
        near |= (((lower - bounds).abs() <= close) | ((higher - bounds).abs() <= close)).any(1)
        if (lower == bounds).any():
            equal += weight * (stop - torch.searchsorted(ascending, bounds))
    return above, equal, near


def _sort(scores: Tensor) -> Tensor:
    if scores.device.type == "cpu":
        scores.numpy().sort(axis=1)  # in place, and with vector instructions, which torch lacks
        return scores
    return scores.sort(dim=1).values


def items_at_a_time(count: int, width: int, block: Block, threads: int) -> int:
    """A tile of a gallery of ``count`` items of ``width`` values: enough tiles to keep all threads busy, and none that
    is large in memory."""
    fair = block.items_padded(-(-count // (4 * threads)))
    return max(block.items, min(fair, _LARGEST // width // block.items * block.items))


@contextmanager
def workers(threads: int) -> Iterator[Executor]:
    """Threads of which each runs torch on one core: products in parallel rather than parallel products. The pieces do
    not wait for each other, and their bits do not depend on the number of threads."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=_one_core) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def _one_core() -> None:
    torch.get_num_threads()  # reads the default for this thread, which the next line then replaces for good
    torch.set_num_threads(1)


def each(pool: Executor | None, work: Callable[[Any], Any], jobs: Sequence[Any]) -> list[Any]:
    """Results of all jobs in order; the error of the first that fails."""
    if pool is None:
        return [work(job) for job in jobs]
    futures: list[Future[Any]] = [pool.submit(work, job) for job in jobs]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
