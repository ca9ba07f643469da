"""The nearest neighbours of every sample of one set, exactly, in the memory of one block of scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Integers = NDArray[Any]
BLOCK = 1024  # rows and columns of scores at a time: 4 MB


@dataclass(frozen=True)
class Neighbours:
    """``index`` [N, k] (int32): every sample's nearest ones, itself first, then by score, equal ones in the order of
    the set. ``lowest`` [N]: the lowest score of each row of the whole N × N matrix."""

    index: NDArray[np.int32]
    lowest: Floats


def nearest(features: Tensor, k: int, *, squares: Tensor | None = None, block: int = BLOCK) -> Neighbours:
    """The ``k`` nearest of N samples for each of them, at most N.

    Scores are products, or minus squared Euclidean distances where ``squares`` are the samples' |f|². They are
    symmetric, so each block is computed once and serves its rows and its columns. What beats a row's k-th best score so
    far is kept until it is worth sorting; columns come in ascending order, so a later one of equal score never does.

    Args:
        features: [N, D], float32, on the CPU.
        squares: [N] or ``None``.
        block: rows and columns at a time.
    """
    count, width = len(features), min(k, len(features))
    lists = [_Lists(start, min(block, count - start), width) for start in range(0, count, block)]
    lowest = np.full(count, np.inf, np.float32)
    buffer = torch.empty(min(block, count) ** 2, dtype=torch.float32)
    for row, mine in enumerate(lists):
        for theirs in lists[row:]:
            scores = _scores(features, squares, mine.part, theirs.part, buffer).numpy()
            if theirs is mine:
                np.fill_diagonal(scores, np.inf)
            np.minimum(lowest[mine.part], scores.min(axis=1), out=lowest[mine.part])
            mine.offer(scores, theirs.part.start)
            if theirs is not mine:
                np.minimum(lowest[theirs.part], scores.min(axis=0), out=lowest[theirs.part])
                theirs.offer(scores.T, mine.part.start)
        mine.settle()
    return Neighbours(np.concatenate([one.index for one in lists]), lowest)


def _scores(features: Tensor, squares: Tensor | None, rows: slice, columns: slice, buffer: Tensor) -> Tensor:
    one, other = features[rows], features[columns]
    out = buffer[: len(one) * len(other)].view(len(one), len(other))
    with torch.autocast("cpu", enabled=False):
        torch.mm(one, other.T, out=out)
    if squares is not None:
        out.mul_(2).sub_(squares[rows][:, None]).sub_(squares[columns][None, :])
    return out


class _Lists:
    """The best of each of some rows so far; ``index`` and ``score`` are [n, k], best first."""

    def __init__(self, start: int, count: int, k: int) -> None:
        self.part = slice(start, start + count)
        self.index = np.full((count, k), -1, np.int32)
        self.score = np.full((count, k), -np.inf, np.float32)
        self.waiting: list[tuple[Integers, Integers, Floats]] = []
        self.number = 0

    def offer(self, scores: Floats, start: int) -> None:
        """Take what is better of ``scores`` [n, m] of the samples ``start``, ``start`` + 1, …"""
        k = self.index.shape[1]
        bound = self.score[:, -1:]
        if self.index[0, -1] < 0 and scores.shape[1] > k:  # nothing to compare with yet: the k best of this block
            kth = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k][:, None]
            better = (scores >= kth) & (scores > bound)
        else:
            better = scores > bound
        if better.flags.c_contiguous:
            row, column = np.divmod(np.flatnonzero(better), better.shape[1])
        else:  # columns still ascend in each row
            column, row = np.divmod(np.flatnonzero(better.T), better.shape[0])
        if not len(row):
            return
        self.waiting.append((row, (column + start).astype(np.int32), scores[row, column]))
        self.number += len(row)
        if self.index[0, -1] < 0 or self.number > self.index.size:
            self.settle()

    def settle(self) -> None:
        """Sort what waits into the lists."""
        if not self.waiting:
            return
        n, k = self.index.shape
        rows = np.concatenate([np.repeat(np.arange(n), k), *(part[0] for part in self.waiting)])
        index = np.concatenate([self.index.ravel(), *(part[1] for part in self.waiting)])
        score = np.concatenate([self.score.ravel(), *(part[2] for part in self.waiting)])
        order = np.lexsort((-score, rows))  # stable: of equal scores the one that came first
        place = np.arange(len(rows)) - np.searchsorted(rows[order], np.arange(n))[rows[order]]
        kept = order[place < k].reshape(n, k)
        self.index, self.score = index[kept], score[kept]
        self.waiting, self.number = [], 0


def top(scores: Floats, k: int) -> tuple[NDArray[np.int32], Floats]:
    """The ``k`` best of every row [n, m], best first, the first of equal ones first: their columns and scores, [n, k];
    −1 and −inf where a row has fewer that are finite."""
    best = _Lists(0, len(scores), min(k, scores.shape[1]))
    best.offer(scores, 0)
    best.settle()
    return best.index, best.score
