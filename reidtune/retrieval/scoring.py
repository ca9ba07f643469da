"""Features of records to rankings and metrics; no model is needed here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reidtune.data.record import Record
from reidtune.retrieval.protocol import RANDOM_GALLERY, ignored
from reidtune.retrieval.random_gallery import RandomGalleryResult
from reidtune.retrieval.rank import JUNK, RankResult, rank
from reidtune.retrieval.shared import SharedGallery, anything_missing

Rows = tuple[Sequence[int], Sequence[int]]


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
    for ties would be; ``near_ties`` counts the queries with scores so close that another device may rank otherwise."""
    return {
        "metrics": result.metrics(),
        **ties_of(result),
        **({"near_ties": result.near_ties} if result.near_ties else {}),
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
    # Junk is not of the gallery, nor of its means.
    row_scores = torch.full((1, len(gallery)), -torch.inf, dtype=torch.float32)
    if rescored is not None:
        row_scores[:, ~junk] = rescored(this)
    elif anything_missing(query_features, pieces) or anything_missing(gallery_features[~junk], pieces):
        row_scores[:, ~junk] = SharedGallery(gallery_features[~junk], pieces).scores(query_features[this])
    else:
        row_scores = query_features[this] @ gallery_features.T
    order = row_scores[0].sort(descending=True, stable=True).indices
    return [gallery[index] for index in order.tolist() if not out[0, index]][:count]


def _places(records: Sequence[Record], protocol: str) -> list[int] | None:
    """Scenes for ``cross-scene``, else cameras; ``None`` where one is unknown."""
    key = "scene" if protocol == "cross-scene" else "camera"
    values = [getattr(record, key) for record in records]
    return None if any(value is None for value in values) else values
