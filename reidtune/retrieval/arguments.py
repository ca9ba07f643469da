"""What rankings, re-ranking and decisions are given: checked in one place, and refused in the same words."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch

from reidtune.errors import DataError, SettingsError
from reidtune.retrieval.protocol import ALL, LEAVE_ONE_OUT, RANDOM_GALLERY, check_protocol, needs_places
from reidtune.retrieval.queries import Labels
from reidtune.retrieval.rows import FeatureRows, Index, integers

JUNK = -1
SIMILARITIES = ("cosine", "euclidean")
Side = tuple[Any, Any, Any, int]  # identities, cameras or scenes, rows, number
_COMPARED = 2**10  # rows by which one set is recognised


def check_number(name: str, value: Any) -> None:
    """Raise :class:`SettingsError` unless ``value`` is a whole number from 1 on."""
    if not isinstance(value, Integral) or value < 1:
        raise SettingsError(f"{name} is {value}, but must be an integer of at least 1.")


def features_of(
    query: Any, gallery: Any, protocol: str, similarity: str, pieces: int
) -> tuple[FeatureRows, FeatureRows]:
    """Both sides, [Q, D] and [G, D], of which nothing is read yet.

    Raises:
        SettingsError: an unknown protocol or similarity, shapes that do not fit, columns that are not ``pieces`` equal
            parts.
        DataError: a file that cannot be read.
    """
    check_protocol(protocol)
    if similarity not in SIMILARITIES:
        raise SettingsError(f'Unknown similarity "{similarity}".', f"Choose one of {', '.join(SIMILARITIES)}.")
    check_number("pieces", pieces)
    queries, items = FeatureRows(query, "query"), FeatureRows(gallery, "gallery")
    if queries.width != items.width:
        raise SettingsError(f"Query features have {queries.width} columns, gallery features {items.width}.")
    if queries.width % pieces:
        raise SettingsError(f"Features of {queries.width} columns are not {pieces} equal parts.")
    return queries, items


def labels_of(protocol: str, query: Side, gallery: Side, weights: Any = None) -> tuple[Labels, Labels]:
    """Labels of both sides; of cameras and rows those that the protocol reads.

    Raises:
        SettingsError: labels that do not fit or are missing.
    """
    if needs_places(protocol) and (query[1] is None or gallery[1] is None):
        raise SettingsError(
            f"The protocol {protocol} needs cameras (or scenes) of query and gallery.",
            "Use --protocol all, or leave-one-out where query and gallery are one set.",
        )
    if (query[2] is None) != (gallery[2] is None):
        raise SettingsError("Rows are given of one side only.", "Give both query_rows and gallery_rows, or neither.")
    one_set = protocol in (LEAVE_ONE_OUT, RANDOM_GALLERY)
    if one_set and query[2] is None and query[3] != gallery[3]:
        raise SettingsError(
            f"{protocol} needs one set as query and gallery, but there are {query[3]} queries and "
            f"{gallery[3]} gallery items.",
            "Use --protocol all.",
        )
    sides = []
    for name, (ids, cameras, rows, count) in (("query", query), ("gallery", gallery)):
        sides.append(
            Labels(
                integers(ids, count, f"{name}_ids"),
                integers(cameras, count, f"{name}_cameras") if needs_places(protocol) else None,
                integers(np.arange(count) if rows is None else rows, count, f"{name}_rows") if one_set else None,
                None if name == "query" or weights is None else integers(weights, count, "gallery_weights"),
            )
        )
    counts = sides[1].weights
    if counts is not None and (few := counts < 1).any():
        row = int(few.argmax())
        raise SettingsError(f"gallery_weights must be at least 1, but row {row} is {counts[row]}.")
    return sides[0], sides[1]


def alike(queries: FeatureRows, items: FeatureRows, ids: Index, item_ids: Index) -> bool:
    """Whether query and gallery look like one set: the same identities in the same order, and the same features."""
    if not np.array_equal(ids, item_ids):
        return False
    rows = np.arange(min(len(ids), _COMPARED))
    return torch.equal(queries.read(rows, torch.device("cpu")), items.read(rows, torch.device("cpu")))


def nothing_to_score(protocol: str, ids: Index, item_ids: Index, one_set: bool = False) -> DataError:
    """Why no query has a positive. ``item_ids`` are without junk; ``one_set`` says whether query and gallery are."""
    sentence = f"None of the {len(ids)} queries can be scored:"
    if not np.isin(ids, item_ids).any():
        return DataError(
            f"{sentence} their identities do not occur in the gallery.",
            "Check that query and gallery are of one test split.",
        )
    if protocol == LEAVE_ONE_OUT:
        return DataError(
            f"{sentence} no identity has two images, of which one could look for the other.",
            "Check the labels, and that the archive was unpacked completely.",
        )
    # Under the protocol all, the images of one set would find themselves.
    others = LEAVE_ONE_OUT if one_set else ALL
    return DataError(
        f"{sentence} the protocol {protocol} takes away every positive.",
        f"If cameras are unknown or there is only one, use --protocol {others}.",
    )
