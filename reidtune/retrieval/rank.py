"""Exact ranking: CMC, mAP and mINP of a query set against a gallery of any size, in the memory of some tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reidtune.errors import SettingsError
from reidtune.retrieval.arguments import (
    JUNK,
    SIMILARITIES,
    alike,
    check_number,
    features_of,
    labels_of,
    nothing_to_score,
)
from reidtune.retrieval.counting import Counter, each, items_at_a_time, workers
from reidtune.retrieval.gathered import Gathered
from reidtune.retrieval.protocol import RANDOM_GALLERY
from reidtune.retrieval.queries import TileMaker
from reidtune.retrieval.result import TIE_RULE, RankResult
from reidtune.retrieval.rows import FeatureRows, Index
from reidtune.retrieval.shared import Shared, anything_missing
from reidtune.retrieval.similarity import Block, Cosine, Euclidean, SharedParts, Similarity, unit

__all__ = ["JUNK", "SIMILARITIES", "TIE_RULE", "RankResult", "rank"]

_ROWS = 2**12  # that are read at a time where all are looked at once


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
    gallery_weights: Sequence[int] | Tensor | None = None,
    protocol: str = "cross-camera",
    similarity: str = "cosine",
    pieces: int = 1,
    tile: int | None = None,
    threads: int | None = None,
    device: str | torch.device = "cpu",
) -> RankResult:
    """Rank the gallery for every query and score the ranking. Nothing is printed.

    Args:
        query: features [Q, D]; a tensor, an array of any precision (of ``numpy.memmap``, too), nested lists, or the
            path of a ``.npy`` or ``.safetensors`` file, which is read in place.
        gallery: features [G, D], likewise.
        query_ids: identities [Q].
        gallery_ids: identities [G]; −1 is junk and dropped, 0 an ordinary distractor.
        query_cameras: cameras (scenes for ``cross-scene``) [Q], where the protocol needs them.
        gallery_cameras: likewise [G].
        query_rows: for ``leave-one-out`` and ``random-gallery``, which sample of the one set each query is [Q], and
            ``gallery_rows`` [G]; default: both are the whole set.
        gallery_weights: how many identical images each gallery item stands for [G], at least 1; the result is that of
            the gallery with all of them side by side. Leave-one-out takes one of them away.
        protocol: a name of :data:`reidtune.retrieval.protocol.PROTOCOLS`.
        similarity: ``cosine`` normalises the features (a zero vector is at right angles to everything);
            ``euclidean`` takes the squared distance of them as they are.
        pieces: with the cosine, features are this many equal parts, one a modality, of which zeros are missing; where
            any is, scores are those of :class:`reidtune.retrieval.shared.Shared`.
        tile: gallery items at a time, which bounds the memory beside the features; default by their number and width.
        threads: default as many as torch uses.
        device: where products and counts are made, such as ``cuda``.

    On one device, results are the same to the bit for every ``tile`` and number of ``threads``. Products are fp32, also
    under autocast. Ties are broken by gallery order (stable); the result has the bounds of every other rule.
    :func:`reidtune.retrieval.result.score_ranks` has the formulas; ignored items are taken out before ranks are
    counted, and queries without a positive are skipped, as in the Market-1501 protocol (Zheng et al. 2015). Of
    ``random-gallery`` the result is a :class:`reidtune.retrieval.random_gallery.RandomGalleryResult`.

    Nothing but positives is put in order among themselves: a positive's rank follows from the number of negatives with
    a higher score, which is counted for a tile of the gallery at a time. Memory does not grow with Q × G.

    Raises:
        SettingsError: shapes that do not fit, labels that are no integers, an unknown protocol or similarity, cameras
            missing.
        DataError: no query has a positive left, or a file cannot be read.
        ReidtuneError: features that are not finite, or too large for a squared distance in fp32.
    """
    for name, value in (("tile", tile), ("threads", threads)):
        if value is not None:
            check_number(name, value)
    queries, items = features_of(query, gallery, protocol, similarity, pieces)
    labels = labels_of(
        protocol,
        (query_ids, query_cameras, query_rows, len(queries)),
        (gallery_ids, gallery_cameras, gallery_rows, len(items)),
        gallery_weights,
    )
    if protocol == RANDOM_GALLERY:
        from reidtune.retrieval.random_gallery import rank_random_galleries  # which ranks every draw here

        if gallery_weights is not None:
            raise SettingsError("A random gallery has no weights: one image of an identity is drawn.")
        sides = [torch.from_numpy(getattr(side, name)) for name in ("ids", "rows") for side in labels]
        options: dict[str, Any] = {
            "similarity": similarity,
            "pieces": pieces,
            "tile": tile,
            "threads": threads,
            "device": device,
        }
        return rank_random_galleries(queries, items, *sides, **options)
    kept = np.flatnonzero(labels[1].ids != JUNK)
    if not len(kept):
        raise nothing_to_score(protocol, labels[0].ids, labels[1].ids[kept])
    place = torch.device(device)
    block = Block.of(place)
    cores = (threads or torch.get_num_threads()) if place.type == "cpu" else 1
    with _exact_products(place), workers(cores) if place.type == "cpu" else nullcontext() as pool:
        measure = _similarity(similarity, queries, items, kept, pieces, place)
        maker = TileMaker(queries, items, labels, kept, protocol, measure, block, place)
        weights = None if labels[1].weights is None else labels[1].weights[kept]
        size = tile or items_at_a_time(len(kept), items.width, block, cores)
        counter = Counter(items, kept, weights, measure, block, place, size)
        gathered = Gathered(len(queries))
        for group in maker.groups():
            tiles = each(pool, maker.make, group)
            each(pool, partial(counter.add, tiles=tiles), counter.starts())
            for one in tiles:
                gathered.add(one.places, one.counts, one.weights, one.near)
    if not (gathered.stable.first_hit > 0).any():
        one_set = alike(queries, items, labels[0].ids, labels[1].ids)
        raise nothing_to_score(protocol, labels[0].ids, labels[1].ids[kept], one_set)
    total = len(kept) if weights is None else int(weights.sum())
    every = len(items) if labels[1].weights is None else int(labels[1].weights.sum())
    return gathered.result(len(queries), total, every - total, protocol)


def _similarity(
    name: str, queries: FeatureRows, items: FeatureRows, kept: Index, pieces: int, device: torch.device
) -> Similarity:
    if name == "euclidean":
        return Euclidean()
    everyone = np.arange(len(queries))
    if pieces > 1 and any(
        anything_missing(features, pieces)
        for side, rows in ((queries, everyone), (items, kept))
        for _, features in _parts(side, rows, device)
    ):
        units = (unit(features, part, "gallery") for part, features in _parts(items, kept, device))
        return SharedParts(Shared(units, pieces))
    return Cosine()


def _parts(features: FeatureRows, rows: Index, device: torch.device) -> Iterator[tuple[Index, Tensor]]:
    """Some rows at a time with their numbers, the same ones whatever the tile."""
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        yield part, features.read(part, device)


@contextmanager
def _exact_products(device: torch.device) -> Iterator[None]:
    """Products in fp32, whatever a caller allows elsewhere: bf16 or TF32 would reorder the gallery."""
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
