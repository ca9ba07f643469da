"""Metrics of a model on a validation set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.captions import one_caption_each
from reidtune.data.record import Record
from reidtune.retrieval.embed import Encode, EncodeTexts, FrozenInputs, Tokenizer, embed_both, embed_pairs
from reidtune.retrieval.protocol import CROSS_MODALITY, LEAVE_ONE_OUT, RANDOM_GALLERY
from reidtune.retrieval.rank import RankResult
from reidtune.retrieval.scoring import draws_of, rank_features
from reidtune.team import ALONE, Team

CARVED_SPLIT = "validation identities, carved from the training identities"
OWN_SPLIT = "the dataset's own validation split"


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
    :func:`rank_records`, the ``modalities`` of multi-modal samples among them, and a ``team`` that shares the work."""
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
    frozen: FrozenInputs | None = None,
    team: Team = ALONE,
) -> RankResult:
    """Embed query and gallery (a record in both once), of these ``modalities`` where there are some, and rank by
    cosine; ``frozen`` gives what stands for images. The processes of a ``team`` share the embedding; ranking is quick,
    and all do it.

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
        frozen=frozen,
        team=team,
    )
    return rank_features(*features, query, gallery, protocol, pieces=max(1, len(modalities)))
