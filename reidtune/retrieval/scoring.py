"""A model and a dataset to metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.captions import one_caption_each
from reidtune.data.record import Record
from reidtune.retrieval.embed import Encode, EncodeTexts, Tokenizer, embed_records, embed_texts
from reidtune.retrieval.feature_cache import FeatureCache
from reidtune.retrieval.protocol import CROSS_MODALITY, LEAVE_ONE_OUT, RANDOM_GALLERY, ignored
from reidtune.retrieval.random_gallery import RandomGalleryResult
from reidtune.retrieval.rank import JUNK, RankResult, rank
from reidtune.retrieval.shared import SharedGallery, anything_missing

Rows = tuple[Sequence[int], Sequence[int]]
CARVED_SPLIT = "validation identities, carved from the training identities"
OWN_SPLIT = "the dataset's own validation split"


def rank_records(
    encode: Encode,
    preprocess: Preprocess,
    query: Sequence[Record],
    gallery: Sequence[Record],
    protocol: str,
    *,
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    modalities: Sequence[str] = (),
) -> RankResult:
    """Embed query and gallery (a record in both once), of these ``modalities`` where there are some, and rank by
    cosine.

    Raises:
        DataError: an image cannot be read, or no query can be scored under this protocol.
        SettingsError: the protocol needs cameras that the records do not have.
    """
    features = embed_both(
        encode,
        preprocess,
        query,
        gallery,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
        modalities=modalities,
    )
    return rank_features(*features, query, gallery, protocol, pieces=max(1, len(modalities)))


def embed_both(
    encode: Encode,
    preprocess: Preprocess,
    query: Sequence[Record],
    gallery: Sequence[Record],
    *,
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    modalities: Sequence[str] = (),
    cache: FeatureCache | None = None,
) -> tuple[Tensor, Tensor]:
    """Features of query [Q, D] and gallery [G, D], L2-normalised; a record in both is embedded once, and what ``cache``
    holds not at all."""
    unique = {id(record): record for record in (*query, *gallery)}
    places = {key: place for place, key in enumerate(unique)}
    features = embed_records(
        encode,
        list(unique.values()),
        preprocess,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
        modalities=modalities,
        cache=cache,
    )
    one, other = ([places[id(record)] for record in records] for records in (query, gallery))
    return features[one], features[other]


def embed_pairs(
    encode: Encode,
    encode_texts: EncodeTexts,
    tokenizer: Tokenizer,
    preprocess: Preprocess,
    captions: Sequence[Record],
    images: Sequence[Record],
    *,
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    cache: FeatureCache | None = None,
) -> tuple[Tensor, Tensor]:
    """Features of the captions [Q, D] of records with one caption each, and of the images [G, D] of others,
    L2-normalised. :func:`rank_features` ranks images for captions, or captions for images, whichever come first.

    Raises:
        DataError: an image cannot be read.
    """
    common: dict[str, Any] = {"batch_size": batch_size, "progress": progress, "cache": cache}
    pictures = embed_records(encode, images, preprocess, workers=workers, **common)
    texts = [record.captions[0] for record in captions]
    return embed_texts(encode_texts, texts, tokenizer, **common), pictures


def rank_features(
    query_features: Tensor,
    gallery_features: Tensor,
    query: Sequence[Record],
    gallery: Sequence[Record],
    protocol: str,
    *,
    pieces: int = 1,
    rows: Rows | None = None,
) -> RankResult:
    """:func:`reidtune.retrieval.rank.rank` with identities and cameras (or scenes) of the records; ``rows`` of queries
    and gallery are for ``leave-one-out`` and ``random-gallery`` of parts of a set."""
    if rows is None and protocol == RANDOM_GALLERY:  # distractors are in the gallery alone
        rows = same_rows(query, gallery)
    return rank(
        query_features,
        gallery_features,
        query_ids=[record.identity for record in query],
        gallery_ids=[record.identity for record in gallery],
        query_cameras=_places(query, protocol),
        gallery_cameras=_places(gallery, protocol),
        query_rows=None if rows is None else rows[0],
        gallery_rows=None if rows is None else rows[1],
        protocol=protocol,
        pieces=pieces,
    )


def same_rows(query: Sequence[Record], gallery: Sequence[Record]) -> Rows:
    """Which sample each record is: the same number for the same object, on either side."""
    rows = {key: row for row, key in enumerate(dict.fromkeys(id(record) for record in (*query, *gallery)))}
    return [rows[id(record)] for record in query], [rows[id(record)] for record in gallery]


def scores(result: RankResult) -> dict[str, Any]:
    """Metrics and counts of a ranking, as ``evaluate --json`` has them; of several draws their number, and the standard
    deviation of each metric over them. Where negatives tie with positives, the metrics between which every other rule
    for ties would be."""
    return {
        "metrics": result.metrics(),
        **ties_of(result),
        **draws_of(result),
        "queries": {"total": result.queries, "skipped": len(result.skipped_queries)},
        "gallery": {"total": result.gallery, "ignored": result.ignored},
    }


def ties_of(result: RankResult) -> dict[str, Any]:
    """``ties``: how many queries have some, and metrics with the positives last (``worst``) and first (``best``) in
    them; nothing without ties."""
    if result.best is None or result.worst is None:
        return {}
    bounds = {"worst": result.worst.metrics(), "best": result.best.metrics()}
    return {"ties": {"queries": len(result.tied_queries), **bounds}}


def draws_of(result: RankResult) -> dict[str, Any]:
    """``draws`` and ``deviation`` of a mean of several draws; else nothing."""
    if not isinstance(result, RandomGalleryResult):
        return {}
    return {"draws": len(result.draws), "deviation": result.deviation()}


def best_matches(
    query_features: Tensor,
    gallery_features: Tensor,
    query: Sequence[Record],
    gallery: Sequence[Record],
    protocol: str,
    row: int,
    count: int,
    *,
    pieces: int = 1,
    rows: Rows | None = None,
    rescored: Callable[[slice], Tensor] | None = None,
) -> list[Record]:
    """The first ``count`` gallery records for query ``row``, ignored and junk ones left out, ties in gallery order.

    Features are L2-normalised, [Q, D] and [G, D]; ``pieces`` and ``rows`` are those of :func:`rank_features`.
    ``rescored`` gives other scores of some queries, without junk, [q, G].
    """
    this = slice(row, row + 1)
    query_rows, gallery_rows = rows or (range(len(query)), range(len(gallery)))
    places = [_places(records, protocol) for records in (query, gallery)]
    dropped = ignored(
        protocol,
        torch.tensor([query[row].identity]),
        torch.tensor([record.identity for record in gallery]),
        None if places[0] is None else torch.tensor(places[0][this]),
        None if places[1] is None else torch.tensor(places[1]),
        torch.tensor(query_rows[this]),
        torch.tensor(gallery_rows),
    )
    junk = torch.tensor([record.identity == JUNK for record in gallery])
    out = junk[None].clone()
    if dropped is not None:
        out |= dropped
    row_scores = torch.full((1, len(gallery)), -torch.inf)  # junk is not of the gallery, nor of its means
    if rescored is not None:
        row_scores[:, ~junk] = rescored(this)
    elif anything_missing(query_features, pieces) or anything_missing(gallery_features, pieces):
        row_scores[:, ~junk] = SharedGallery(gallery_features[~junk], pieces).scores(query_features[this])
    else:
        row_scores = query_features[this] @ gallery_features.T
    order = row_scores[0].sort(descending=True, stable=True).indices
    return [gallery[index] for index in order.tolist() if not out[0, index]][:count]


def validation_protocol(records: Sequence[Record], protocol: str) -> str:
    """How a validation set, which is query and gallery at once, is scored: the dataset's camera (or scene) rule where
    every record has one and some identity has two (it excludes the image itself as well), ``random-gallery`` where that
    is the dataset's, else leave-one-out."""
    if protocol == RANDOM_GALLERY:
        return protocol
    key = {"cross-camera": "camera", "cross-scene": "scene"}.get(protocol)
    if key is None or any(getattr(record, key) is None for record in records):
        return LEAVE_ONE_OUT
    places: dict[int, set[int]] = {}
    for record in records:
        places.setdefault(record.identity, set()).add(getattr(record, key))
    return protocol if any(len(seen) > 1 for seen in places.values()) else LEAVE_ONE_OUT


def validate(
    encode: Encode, preprocess: Preprocess, records: Sequence[Record], protocol: str, **options: Any
) -> dict[str, Any]:
    """Metrics of a validation set against itself, with how they were obtained; ``options`` are those of
    :func:`rank_records`, the ``modalities`` of multi-modal samples among them."""
    result = rank_records(encode, preprocess, records, records, protocol, **options)
    return {
        **result.metrics(),
        **draws_of(result),
        "protocol": protocol,
        "queries": result.queries,
        "skipped": len(result.skipped_queries),
        "split": CARVED_SPLIT,
    }


def validate_text(
    encode: Encode,
    encode_texts: EncodeTexts,
    tokenizer: Tokenizer,
    preprocess: Preprocess,
    records: Sequence[Record],
    *,
    split: str = CARVED_SPLIT,
    **options: Any,
) -> dict[str, Any]:
    """Text-to-image metrics of a validation set, every caption a query and every image in the gallery (the protocol of
    IRRA, Jiang & Ye 2023), with how they were obtained.

    ``split`` is :data:`CARVED_SPLIT` or :data:`OWN_SPLIT`; ``queries`` and ``skipped`` count captions.

    Raises:
        DataError: an image cannot be read.
    """
    captions = one_caption_each(records)
    features = embed_pairs(encode, encode_texts, tokenizer, preprocess, captions, records, **options)
    result = rank_features(*features, captions, records, CROSS_MODALITY)
    return {
        **result.metrics(),
        "protocol": CROSS_MODALITY,
        "queries": len(captions),
        "skipped": len(result.skipped_queries),
        "split": split,
    }


def _places(records: Sequence[Record], protocol: str) -> list[int] | None:
    """Scenes for ``cross-scene``, else cameras; ``None`` where one is unknown."""
    key = "scene" if protocol == "cross-scene" else "camera"
    values = [getattr(record, key) for record in records]
    return None if any(value is None for value in values) else values
