"""A model and a dataset to metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.record import Record, cameras
from reidtune.retrieval.embed import embed_records
from reidtune.retrieval.protocol import LEAVE_ONE_OUT
from reidtune.retrieval.rank import RankResult, rank

Encode = Callable[[Tensor], Tensor]


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
) -> RankResult:
    """Embed query and gallery (a record in both once) and rank by cosine.

    Raises:
        DataError: an image cannot be read, or no query can be scored under this protocol.
        SettingsError: the protocol needs cameras that the records do not have.
    """
    unique = {id(record): record for record in (*query, *gallery)}
    places = {key: place for place, key in enumerate(unique)}
    features = embed_records(
        encode, list(unique.values()), preprocess, batch_size=batch_size, workers=workers, progress=progress
    )
    key = "scene" if protocol == "cross-scene" else "camera"
    return rank(
        features[[places[id(record)] for record in query]],
        features[[places[id(record)] for record in gallery]],
        query_ids=[record.identity for record in query],
        gallery_ids=[record.identity for record in gallery],
        query_cameras=_places(query, key),
        gallery_cameras=_places(gallery, key),
        protocol=protocol,
    )


def validation_protocol(records: Sequence[Record], protocol: str) -> str:
    """How a validation set, which is query and gallery at once, is scored: the dataset's camera rule where every
    record has a camera (it excludes the image itself as well), else leave-one-out."""
    known = len(cameras(records)) > 1 and all(record.camera is not None for record in records)
    if protocol == "cross-scene" and all(record.scene is not None for record in records):
        return protocol
    return "cross-camera" if protocol == "cross-camera" and known else LEAVE_ONE_OUT


def validate(
    encode: Encode, preprocess: Preprocess, records: Sequence[Record], protocol: str, **options: Any
) -> dict[str, Any]:
    """Metrics of a validation set against itself, with how they were obtained."""
    result = rank_records(encode, preprocess, records, records, protocol, **options)
    return {
        **result.metrics(),
        "protocol": protocol,
        "queries": len(records),
        "skipped": len(result.skipped_queries),
        "split": "validation identities, carved from the training identities",
    }


def _places(records: Sequence[Record], key: str) -> list[int] | None:
    values = [getattr(record, key) for record in records]
    return None if any(value is None for value in values) else values
