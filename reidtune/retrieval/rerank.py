"""k-reciprocal re-ranking (Zhong et al. 2017) of a gallery of any size, without a matrix of all samples by all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidtune.errors import SettingsError
from reidtune.retrieval.arguments import check_number
from reidtune.retrieval.neighbours import Neighbours, nearest
from reidtune.retrieval.pairs import Pairs, make_pairs, own_places, rank_scores
from reidtune.retrieval.protocol import LEAVE_ONE_OUT
from reidtune.retrieval.rank import RankResult
from reidtune.retrieval.sparse import SparseRows, join, spans

NEIGHBOURS = "k1 + 1 with the sample itself, k1 / 2 rounded half to even, ties in the order of queries, then gallery"
_ROWS = 256  # samples encoded at a time, at most
_ENTRIES = 2**21  # scores, or pairs of entries, at a time


@dataclass(frozen=True)
class RerankSettings:
    """``k1`` neighbours must be mutual, ``k2`` rows are averaged (1: none), ``weight`` (the paper's λ) is the share of
    the original distance, 0–1.

    Raises:
        SettingsError: a value out of its range.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        check_number("k1", self.k1)
        check_number("k2", self.k2)
        if not 0 <= self.weight <= 1:
            raise SettingsError(f"Re-ranking with lambda={self.weight}.", "Choose a value from 0 to 1.")

    def describe(self) -> dict[str, Any]:
        return {"k1": self.k1, "k2": self.k2, "lambda": self.weight, "neighbours": NEIGHBOURS}


def rerank(query: Any, gallery: Any, *, k1: int = 20, k2: int = 6, weight: float = 0.3, **labels: Any) -> RankResult:
    """As :func:`reidtune.rank`, by re-ranked scores.

    Args:
        query: features [Q, D], and ``gallery`` [G, D].
        k1: neighbours that must be mutual; ``k2`` rows are averaged, and ``weight`` (the paper's λ) is the share of the
            original distance. :class:`Reranker` has the formulas.
        labels: of the arguments of :func:`reidtune.rank` these: ``query_ids``, ``gallery_ids``, ``query_cameras``,
            ``gallery_cameras``, ``query_rows``, ``gallery_rows``, ``protocol``, ``similarity``, ``pieces``.

    Neighbours are sought among queries and gallery together, without labels; junk is taken out before. Under
    ``leave-one-out`` the two are one set, and each sample stands in it once. Where queries are captions and all their
    neighbours captions, too, no image shares any, and the order stays.

    Raises:
        SettingsError: arguments that do not fit, see :func:`reidtune.rank`; ``k1``, ``k2`` or ``weight`` out of range.
        DataError: no query has a positive left, or a file cannot be read.
        ReidtuneError: features that are not finite, or too large for a squared distance in fp32.
    """
    settings = RerankSettings(k1, k2, weight)
    pairs = make_pairs(query, gallery, **labels)
    same = (pairs.query_rows, pairs.gallery_rows) if pairs.protocol == LEAVE_ONE_OUT else None
    return rank_scores(pairs, reranker_of(pairs, settings, same).tiles())


def reranker_of(pairs: Pairs, settings: RerankSettings, same: tuple[Tensor, Tensor] | None = None) -> Reranker:
    """The re-ranked scores of pairs; a modality that a sample lacks is taken to be the gallery's mean.

    ``same`` are names of queries [Q] and gallery items [G]: those of one name and equal features are one sample.
    """
    pairs = pairs.complete()
    count, items = len(pairs.query), len(pairs.gallery)
    place = torch.full((count,), -1) if same is None else own_places(pairs, same)
    apart = place < 0
    own = int(apart.sum())
    place[~apart] += own
    place[apart] = torch.arange(own)
    stack = torch.cat([pairs.query[apart], pairs.gallery]) if own else pairs.gallery
    squares = None if pairs.squares is None else stack.square().sum(1)
    return Reranker(stack, place.numpy(), np.arange(own, own + items), settings, squares=squares)


class Reranker:
    """Re-ranked scores of queries against a gallery.

    With N = Q + G samples in one stack and O_ij = d²_ij / max_j d²_ij (d the Euclidean distance of features of length
    1, or of the features as they are), R(i, k) holds those among the first k + 1 of i's neighbours (i itself is the
    first) that have i among their first k + 1. R*(i) is R(i, k1) with every R(c, h) of its members c of which more than
    two thirds lie in R(i, k1), h = k1 / 2 rounded half to even. V_ij is exp(−O_ij) on R*(i), scaled to the sum 1, then
    the mean over the first k2 neighbours of i. J_ij = 1 − m / (2 − m) with m = Σ_t min(V_it, V_jt), and the distance
    is (1 − λ) J + λ O. These are the numbers of the authors' public code, which differs from the paper in V (scaled)
    and in the rows that k2 averages (plain neighbours).

    Memory: the stack, k1 + 1 neighbours and some hundred entries of V a sample, and one tile of scores.

    Args:
        stack: features [N, D], float32: of length 1, or as they are where ``squares`` are their |f|² [N].
        query: the places [Q] of the queries in the stack.
        gallery: the places [G] of the gallery items. A sample may be both.
    """

    def __init__(
        self,
        stack: Tensor,
        query: NDArray[Any],
        gallery: NDArray[Any],
        settings: RerankSettings | None = None,
        *,
        squares: Tensor | None = None,
    ) -> None:
        self.settings = settings or RerankSettings()
        self.stack, self.squares = stack, squares
        self.query, self.gallery = query, gallery
        wanted = max(self.settings.k1 + 1, self.settings.k2)
        neighbours = nearest(stack, wanted, squares=squares)
        self.furthest = np.maximum(self._distances(neighbours.lowest), 1e-30)  # all samples alike: O is 0
        self.codes = self._codes(neighbours)
        self.inverted = self.codes.transposed(gallery, len(stack))
        self.gallery_features = _rows(stack, gallery)
        self.gallery_squares = None if squares is None else squares[torch.from_numpy(gallery)]

    def tiles(self) -> Iterator[tuple[slice, Tensor]]:
        """Which queries, and their scores [q, G]: minus the distance, without the constant 1 − λ, float32."""
        step = max(1, _ENTRIES // max(1, len(self.gallery)))
        for start in range(0, len(self.query), step):
            part = slice(start, min(start + step, len(self.query)))
            yield part, self.scores(part)

    def scores(self, part: slice) -> Tensor:
        """The scores [q, G] of some queries; higher is nearer."""
        rows = self.query[part]
        weight = self.settings.weight
        with torch.autocast("cpu", enabled=False):
            plain = _rows(self.stack, rows) @ self.gallery_features.T
        if self.squares is not None and self.gallery_squares is not None:
            plain.mul_(2).sub_(self.squares[torch.from_numpy(rows)][:, None]).sub_(self.gallery_squares[None, :])
        distance = self._distances(plain.numpy())
        distance *= np.float32(weight) / self.furthest[rows][:, None]
        shared = self._shared(rows)
        shared /= 2 - shared  # the Jaccard similarity
        shared *= 1 - weight
        shared -= distance
        return torch.from_numpy(shared.astype(np.float32))

    def _distances(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared distances, in place."""
        if self.squares is None:
            scores *= -2
            scores += 2
        else:
            np.negative(scores, out=scores)
        return np.maximum(scores, 0, out=scores)

    def _shared(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Σ_t min(V_it, V_jt) of some samples i with the gallery items j: [n, G]."""
        width = len(self.gallery)
        owner, column, value = self.codes.take(rows)
        number = self.inverted.start[column + 1] - self.inverted.start[column]
        ends = np.searchsorted(np.cumsum(number), np.arange(_ENTRIES, int(number.sum()) + _ENTRIES, _ENTRIES), "right")
        total = np.zeros(len(rows) * width)
        start = 0
        for stop in np.unique(np.append(ends, len(column))):
            some = column[start:stop]
            entry, place = spans(self.inverted.start[some], self.inverted.start[some + 1])
            least = np.minimum(self.inverted.value[place], value[start:stop][entry])
            total += np.bincount(
                owner[start:stop][entry] * width + self.inverted.column[place], least, minlength=len(total)
            )
            start = stop
        return total.reshape(len(rows), width)

    def _codes(self, neighbours: Neighbours) -> SparseRows:
        """V."""
        k1, k2 = self.settings.k1, self.settings.k2
        near = neighbours.index[:, : k1 + 1]
        half = near[:, : round(k1 / 2) + 1]
        mutual, half_mutual = _mutual(near), _mutual(half)
        # At a time as many samples as keep their tables of members [n, N] and lists [n, k1 + 1, h + 1] small.
        largest = max(len(near), near.shape[1] * half.shape[1])
        codes = join(self._encode(part, near, mutual, half, half_mutual) for part in _parts(len(near), largest))
        if k2 == 1:
            return codes
        return join(_average(codes, neighbours.index[part, :k2]) for part in _parts(len(near), 0))

    def _encode(
        self, part: slice, near: NDArray[Any], mutual: NDArray[Any], half: NDArray[Any], half_mutual: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        own, member = near[part], mutual[part]
        theirs, mine = half[own], half_mutual[own]  # [n, k1 + 1, h + 1]
        row, place = member.nonzero()
        members = np.zeros((len(own), len(near)), np.bool_)
        members[row, own[row, place]] = True
        inside = members[np.arange(len(own))[:, None, None], theirs]
        taken = member & (3 * (inside & mine).sum(axis=-1) > 2 * mine.sum(axis=-1))
        wide_row, wide_place, wide = (taken[..., None] & mine).nonzero()
        first = row * len(near) + own[row, place]
        keys = np.unique(np.append(first, wide_row * len(near) + theirs[wide_row, wide_place, wide]))
        row, column = np.divmod(keys, len(near))
        places = np.arange(part.start, part.start + len(own))[row]
        one, other = torch.from_numpy(places), torch.from_numpy(column)
        scores = torch.linalg.vecdot(self.stack[one], self.stack[other])
        if self.squares is not None:
            scores = 2 * scores - self.squares[one] - self.squares[other]
        value = np.exp(-self._distances(scores.numpy()) / self.furthest[places])
        value /= np.bincount(row, value, minlength=len(own))[row]
        return np.bincount(row, minlength=len(own)), column.astype(np.int32), value.astype(np.float32)


def _parts(count: int, entries: int) -> list[slice]:
    """``count`` samples, so many at a time that ``entries`` of each fit."""
    step = max(1, min(_ROWS, _ENTRIES // max(1, entries)))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _mutual(near: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which entries of lists of neighbours [N, k] have the list's owner in their own: [N, k]."""
    found = np.empty(near.shape, np.bool_)
    for part in _parts(len(near), near.shape[1] ** 2):
        owner = np.arange(part.start, part.stop, dtype=np.int32)
        found[part] = (near[near[part]] == owner[:, None, None]).any(axis=-1)
    return found


def _average(codes: SparseRows, near: NDArray[np.int32]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The mean of each sample's neighbours' rows; ``near`` are those of some samples, [n, k2]."""
    owner, column, value = codes.take(near.ravel())
    columns = len(codes.start) - 1
    keys, place = np.unique(owner // near.shape[1] * columns + column, return_inverse=True)
    mean = np.bincount(place, value, minlength=len(keys)) / near.shape[1]
    row, column = np.divmod(keys, columns)
    return np.bincount(row, minlength=len(near)), column.astype(np.int32), mean.astype(np.float32)


def _rows(features: Tensor, places: NDArray[Any]) -> Tensor:
    """Some rows; those that stand together are not copied."""
    if len(places) and places[-1] - places[0] + 1 == len(places) and (np.diff(places) == 1).all():
        return features[int(places[0]) : int(places[-1]) + 1]
    return features[torch.from_numpy(np.ascontiguousarray(places))]
