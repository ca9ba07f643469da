"""Files of the same bytes, and images that look nearly the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MOST_BITS = 6  # of 64 in which the difference hashes of near-duplicates differ
MOST_DIFFERENCE = 4.0  # of 255, on average over the thumbnails of near-duplicates
MOST_PAIRS = 1_000_000
_TILE = 2**22  # comparisons at a time

Bits = NDArray[np.uint64]


def same_bytes(files: Iterable[tuple[Path, int]]) -> list[list[Path]]:
    """Groups of two files or more with the same bytes, in the order of ``files``: (path, size in bytes).

    Only files that share their size are read; their SHA-256 decides. Files that cannot be read are left out.
    """
    by_size: dict[int, list[Path]] = {}
    for path, size in files:
        by_size.setdefault(size, []).append(path)
    groups: dict[tuple[int, bytes], list[Path]] = {}
    for size, paths in by_size.items():
        if len(paths) > 1:
            for path in paths:
                try:
                    with path.open("rb") as file:
                        key = (size, hashlib.file_digest(file, "sha256").digest())
                except OSError:
                    continue
                groups.setdefault(key, []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def near_pairs(first: Bits, second: Bits, most: int = MOST_BITS) -> Iterator[NDArray[np.int64]]:
    """All pairs [P, 2] of an index into ``first`` [N] and one into ``second`` [M], uint64, whose bits differ in at most
    ``most`` places; each pair once, in portions.

    Exact: of ``most`` + 1 parts of the 64 bits at least one is equal in such a pair, so only numbers that share a part
    are compared. Memory is that of one tile and one portion.
    """
    for part, mask in enumerate(masks := _masks(most + 1)):
        left, right = first & mask, second & mask
        right_order = np.argsort(right, kind="stable")
        ordered = right[right_order]
        left_order = np.argsort(left, kind="stable")
        values, starts = np.unique(left[left_order], return_index=True)
        ends = np.append(starts[1:], len(left_order))
        lows, highs = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
        buckets = np.stack([starts, ends, lows, highs], axis=1).tolist()
        for start, end, low, high in buckets:
            if low == high:
                continue
            columns = right_order[low:high]
            rows_at_once = max(1, _TILE // len(columns))
            for begin in range(start, end, rows_at_once):
                rows = left_order[begin : min(end, begin + rows_at_once)]
                differing = first[rows][:, None] ^ second[columns][None, :]
                near = _ones(differing) <= most
                for earlier in masks[:part]:  # a pair that shares an earlier part was found there
                    near &= (differing & earlier) != 0
                if near.any():
                    found = near.nonzero()
                    yield np.stack([rows[found[0]], columns[found[1]]], axis=1)


def near_duplicates(
    first: Sequence[tuple[int, bytes]],
    second: Sequence[tuple[int, bytes]],
    bits: int = MOST_BITS,
    difference: float = MOST_DIFFERENCE,
) -> tuple[NDArray[np.int64], bool]:
    """Pairs [P, 2] of an image of ``first`` and one of ``second`` that look nearly the same, and whether these are all:
    after ``MOST_PAIRS`` the search ends.

    An image is its difference hash and its RGB thumbnail (:class:`reidtune.data.look.Print`). A pair's hashes differ
    in at most ``bits`` of 64 places, and the thumbnails by at most ``difference`` of 255 on average. The pairs are
    ordered by that average. A hint, not a proof: small prints know no details.
    """
    nothing = np.zeros((0, 2), np.int64)
    if not first or not second:
        return nothing, True
    one, other = (np.array([image[0] for image in side], np.uint64) for side in (first, second))
    one_small, other_small = (
        np.stack([np.frombuffer(image[1], np.uint8) for image in side]).astype(np.int16) for side in (first, second)
    )
    found, apart, total = [nothing], [np.zeros(0)], 0
    complete = True
    for pairs in near_pairs(one, other, bits):
        for start in range(0, len(pairs), _TILE // 64):
            some = pairs[start : start + _TILE // 64]
            mean = np.abs(one_small[some[:, 0]] - other_small[some[:, 1]]).mean(1)
            near = mean <= difference
            found.append(some[near])
            apart.append(mean[near])
            total += int(near.sum())
        if total >= MOST_PAIRS:
            complete = False
            break
    joined = np.concatenate(found)
    order = np.lexsort((joined[:, 1], joined[:, 0], np.concatenate(apart)))
    return joined[order][:MOST_PAIRS], complete


def _masks(parts: int) -> list[np.uint64]:
    """``parts`` disjoint masks that cover 64 bits, of nearly equal width."""
    bounds = [64 * part // parts for part in range(parts + 1)]
    return [np.uint64((1 << end) - (1 << start)) for start, end in pairwise(bounds)]


def _ones(values: Bits) -> NDArray[np.uint8]:
    """How many bits are set in each of ``values`` (the sum of neighbours, in ever wider fields)."""
    one, two, four = (np.uint64(mask) for mask in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F))
    values = values - ((values >> np.uint64(1)) & one)
    values = (values & two) + ((values >> np.uint64(2)) & two)
    values = (values + (values >> np.uint64(4))) & four
    return ((values * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)
