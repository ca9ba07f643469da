"""Exact ranking: CMC, mAP and mINP of a query set against a gallery, in memory of one tile (and of a second gallery
where modalities are missing)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.retrieval.protocol import ALL, LEAVE_ONE_OUT, RANDOM_GALLERY, check_protocol, ignored, needs_places
from reidtune.retrieval.shared import SharedGallery, anything_missing

TIE_RULE = "stable: equal scores keep gallery order"
JUNK = -1
SIMILARITIES = ("cosine", "euclidean")
_TILE_ENTRIES = 2**22  # scores at a time; counting takes some 40 bytes each, so about 170 MB
_LAST = torch.iinfo(torch.int64).min  # the key of an item behind every counted one


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
    query_rows: Sequence[int] | Tensor | None = None,
    gallery_rows: Sequence[int] | Tensor | None = None,
    protocol: str = "cross-camera",
    similarity: str = "cosine",
    pieces: int = 1,
    tile: int = 64,
) -> RankResult:
    """Rank the gallery for every query and score the ranking. Nothing is printed.

    Args:
        query: features [Q, D]; a tensor, an array or nested lists.
        gallery: features [G, D].
        query_ids: identities [Q].
        gallery_ids: identities [G]; −1 is junk and dropped, 0 an ordinary distractor.
        query_cameras: cameras (scenes for ``cross-scene``) [Q], where the protocol needs them.
        gallery_cameras: likewise [G].
        query_rows: for ``leave-one-out`` and ``random-gallery``, which sample of the one set each query is [Q], and
            ``gallery_rows`` [G]; default: both are the whole set.
        protocol: a name of :data:`reidtune.retrieval.protocol.PROTOCOLS`.
        similarity: ``cosine`` normalises the features (a zero vector is at right angles to everything);
            ``euclidean`` takes the squared distance of them as they are.
        pieces: with the cosine, features are this many equal parts, one a modality, of which zeros are missing; where
            any is, scores are those of :class:`reidtune.retrieval.shared.SharedGallery`.
        tile: most queries at a time, fewer where the gallery is very large: memory is some 40 bytes × tile × G. Results
            do not depend on it beyond the last bits of fp32 products.

    Products are fp32, also under autocast. Ties are broken by gallery order (stable). :func:`score_rows` has the
    formulas; ignored items are taken out before ranks are counted, and queries without a positive are skipped, as in
    the Market-1501 protocol (Zheng et al. 2015). Of ``random-gallery`` the result is a
    :class:`reidtune.retrieval.random_gallery.RandomGalleryResult`.

    Raises:
        SettingsError: shapes that do not fit, labels that are no integers, an unknown protocol or similarity, cameras
            missing.
        DataError: no query has a positive left.
        ReidtuneError: features that are not finite, or too large for a squared distance in fp32.
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
    if (query_rows is None) != (gallery_rows is None):
        raise SettingsError("Rows are given of one side only.", "Give both query_rows and gallery_rows, or neither.")
    if protocol in (LEAVE_ONE_OUT, RANDOM_GALLERY) and query_rows is None and len(queries) != len(items):
        raise SettingsError(
            f"{protocol} needs one set as query and gallery, but there are {len(queries)} queries and "
            f"{len(items)} gallery items.",
            "Use --protocol all.",
        )
    rows, item_rows = torch.arange(len(queries)), torch.arange(len(items))
    if query_rows is not None and gallery_rows is not None:
        rows = _labels(query_rows, len(queries), "query_rows")
        item_rows = _labels(gallery_rows, len(items), "gallery_rows")
    if protocol == RANDOM_GALLERY:
        from reidtune.retrieval.random_gallery import rank_random_galleries  # which ranks every draw here

        sides = (queries, items, ids, item_ids, rows, item_rows)
        return rank_random_galleries(*sides, similarity=similarity, pieces=pieces, tile=tile)
    kept = item_ids != JUNK
    junk = int((~kept).sum())
    if junk:  # else no copy of a large gallery
        items, item_ids, item_rows = items[kept], item_ids[kept], item_rows[kept]
        item_places = None if item_places is None else item_places[kept]
    if pieces < 1 or queries.shape[1] % pieces:
        raise SettingsError(f"Features of {queries.shape[1]} columns are not {pieces} equal parts.")
    lengths = None
    shared = None
    if similarity == "cosine" and (anything_missing(queries, pieces) or anything_missing(items, pieces)):
        shared = SharedGallery(items, pieces)
    if similarity == "cosine":
        queries, items = _unit(queries), _unit(items)
    else:
        _squares(queries, "query")
        lengths = _squares(items, "gallery")

    precision = torch.full((len(queries),), torch.nan, dtype=torch.float64)
    penalty = precision.clone()
    first = torch.zeros(len(queries), dtype=torch.int64)
    step = max(1, min(tile, _TILE_ENTRIES // max(1, len(items))))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        scores = _scores(queries[part], items, lengths, shared)
        drop = ignored(
            protocol, ids[part], item_ids, None if places is None else places[part], item_places, rows[part], item_rows
        )
        positive = ids[part][:, None] == item_ids[None, :]
        precision[part], penalty[part], first[part] = score_rows(scores, positive, drop)
    skipped = tuple(int(index) for index in (first == 0).nonzero()[:, 0])
    if len(skipped) == len(queries):
        raise _nothing_to_score(protocol, ids, item_ids)
    return RankResult(precision, penalty, first, skipped, len(queries), len(items), junk, protocol)


def score_rows(scores: Tensor, positive: Tensor, dropped: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Average precision, inverse negative penalty (both float64, NaN without a positive) and the rank of the first
    positive (int64, 0 without one) of every row, each [Q].

    With the ranks r₁ < … < r_P of a row's positives among its counted items, AP = (1/P) Σ k / r_k and INP = P / r_P
    (Ye et al. 2021, Eq. 8). A rank is the number of counted items at least as good, so nothing but the positives is
    sorted: every item is placed between them by bisection, and the places are counted.

    Args:
        scores: fp32 [Q, G], finite, higher is better; of equal ones the first is better.
        positive: boolean [Q, G].
        dropped: boolean [Q, G], items that do not count, or ``None``.
    """
    keys = _keys(scores)
    if dropped is not None:
        keys.masked_fill_(dropped, _LAST)
        positive = positive & ~dropped
    number = positive.sum(1)
    width = max(1, int(number.max()))
    row, column = positive.nonzero(as_tuple=True)
    slot = torch.arange(len(row)) - (number.cumsum(0) - number)[row]
    bounds = torch.full((len(scores), width), _LAST)
    bounds[row, slot] = keys[row, column]
    bounds = bounds.sort(1).values  # ascending; unused slots come first
    bins = torch.searchsorted(bounds, keys, right=True)  # how many bounds an item reaches
    counts = torch.zeros(len(scores), width + 1, dtype=torch.int64)
    counts.scatter_add_(1, bins, torch.ones((), dtype=torch.int64).expand_as(bins))
    ranks = counts[:, 1:].flip(1).cumsum(1)  # of the positives, best first, then of unused slots
    used = torch.arange(width) < number[:, None]
    shares = torch.arange(1, width + 1, dtype=torch.float64) / ranks.clamp(min=1)
    precision = shares.where(used, 0.0).sum(1) / number
    last = ranks.gather(1, (number - 1).clamp(min=0)[:, None])[:, 0]
    penalty = (number / last.double()).where(number > 0, torch.nan)
    return precision, penalty, ranks[:, 0].where(number > 0, 0)


def _keys(scores: Tensor) -> Tensor:
    """int64 [Q, G], different within a row and in the order of the scores; of equal scores the first has the highest.

    The bits of an fp32 number, all but the sign flipped where it is negative, are an integer of the same order.
    """
    bits = (scores + 0.0).view(torch.int32)  # + 0 makes −0 equal to 0
    bits ^= (bits >> 31) & 0x7FFFFFFF
    keys = bits.long()
    keys <<= 32
    keys += torch.arange(scores.shape[1] - 1, -1, -1)
    return keys


def _scores(queries: Tensor, items: Tensor, lengths: Tensor | None, shared: SharedGallery | None) -> Tensor:
    """Higher is nearer, [Q, G]: the cosine, or minus the squared distance where ``lengths`` has the items' |g|² [G], or
    what ``shared`` makes of it."""
    with torch.autocast("cpu", enabled=False):  # a caller's bf16 would reorder the gallery
        if shared is not None:
            return shared.scores(queries)
        product = queries @ items.T
    if lengths is None:
        return product
    return 2 * product - lengths[None, :]  # without |q|², which is equal in a row


def _unit(features: Tensor) -> Tensor:
    """Rows of length 1; a zero row stays. Scaled by its largest entry first, so that no square over- or underflows."""
    largest = torch.linalg.vector_norm(features, ord=torch.inf, dim=1, keepdim=True)
    unit: Tensor = features / largest.clamp(min=torch.finfo(torch.float32).tiny)
    unit /= torch.linalg.vector_norm(unit, dim=1, keepdim=True).clamp(min=1e-12)
    return unit


def _squares(features: Tensor, name: str) -> Tensor:
    squares = features.square().sum(1)
    if (large := squares > torch.finfo(torch.float32).max / 4).any():
        raise ReidtuneError(
            f"The {name} features of row {int(large.nonzero()[0])} are too large for squared distances in fp32.",
            "Use the similarity cosine, or scale the features down.",
        )
    return squares


def _features(values: Any, name: str) -> Tensor:
    array = _array(values, f"{name} features")
    if array.ndim != 2 or not array.size:
        raise SettingsError(f"{name} features must have the shape [N, D] with N, D > 0, but have {array.shape}.")
    with np.errstate(over="ignore"):  # beyond fp32 is infinite, and refused below
        features = torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
    finite = features.isfinite().all(1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise ReidtuneError(f"The {name} features of row {row} are not finite.", "The model that made them is broken.")
    return features


def _labels(values: Any, count: int, name: str) -> Tensor:
    array = _array(values, name)
    if array.shape != (count,):
        raise SettingsError(f"{name} must have the shape [{count}], but has {list(array.shape)}.")
    if array.dtype.kind == "f" and (broken := array != np.round(array)).any():
        row = int(broken.argmax())
        raise SettingsError(f"{name} must be integers, but row {row} is {array[row]}.")
    return torch.from_numpy(array.astype(np.int64))


def _array(values: Any, name: str) -> NDArray[Any]:
    """Tensors on any device, arrays of any byte order and nested lists, as an array of numbers."""
    if isinstance(values, (list, tuple)):
        values = [_plain(value) for value in values]
    try:
        array = np.asarray(_plain(values))
    except ValueError as error:  # rows of different lengths
        raise SettingsError(f"{name} are no array: {error}") from error
    if array.dtype.kind not in "fiub":
        raise SettingsError(
            f"{name} must be numbers, but are of the type {array.dtype}.",
            "Identities, cameras and scenes with names need an integer each; unknown cameras are left out as a whole.",
        )
    return array


def _plain(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return (value.float() if value.dtype == torch.bfloat16 else value).detach().cpu().numpy()


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
