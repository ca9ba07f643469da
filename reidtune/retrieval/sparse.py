"""Rows that are nearly all zeros."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class SparseRows:
    """Rows [N, columns] of which row i has ``value[start[i] : start[i + 1]]`` at ``column`` of the same places."""

    start: Integers  # [N + 1]
    column: NDArray[np.int32]
    value: NDArray[np.float32]

    def take(self, rows: NDArray[Any]) -> tuple[Integers, NDArray[np.int32], NDArray[np.float32]]:
        """The entries of some rows, one row after the other: which of ``rows`` an entry is of, its column, its
        value."""
        owner, place = spans(self.start[rows], self.start[rows + 1])
        return owner, self.column[place], self.value[place]

    def transposed(self, rows: NDArray[Any], columns: int) -> SparseRows:
        """A row for each of ``columns``: which of ``rows`` have something there, by their place in ``rows``."""
        owner, column, value = self.take(rows)
        order = np.argsort(column, kind="stable")
        start = np.zeros(columns + 1, np.int64)
        np.cumsum(np.bincount(column, minlength=columns), out=start[1:])
        return SparseRows(start, owner[order].astype(np.int32), value[order])


def join(parts: Iterable[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]) -> SparseRows:
    """Rows from parts of them, in order: how many entries each row has, all columns, all values."""
    numbers, columns, values = zip(*parts, strict=True)
    start = np.concatenate([[0], np.cumsum(np.concatenate(numbers), dtype=np.int64)])
    return SparseRows(start, np.concatenate(columns), np.concatenate(values))


def spans(begin: NDArray[Any], end: NDArray[Any]) -> tuple[Integers, Integers]:
    """begin₀ … end₀ − 1, begin₁ … end₁ − 1, …: which span a place is of, and the place."""
    number = end - begin
    owner = np.repeat(np.arange(len(number)), number)
    return owner, np.arange(len(owner)) + np.repeat(begin - (np.cumsum(number) - number), number)
