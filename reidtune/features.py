"""Evaluating features in files, whoever made them: what ``reidtune evaluate --features`` prints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reidtune.analysis import Analysis, analyse
from reidtune.data.labels import JUNK, Labels, Names, read_labels
from reidtune.data.layouts.assemble import number_names, settle_protocol
from reidtune.data.record import Record
from reidtune.data.scan import show
from reidtune.errors import DataError, SettingsError
from reidtune.retrieval.protocol import CROSS_MODALITY, CROSS_SCENE, RANDOM_GALLERY, check_protocol
from reidtune.retrieval.rank import SIMILARITIES, RankResult, rank
from reidtune.retrieval.rows import FeatureRows
from reidtune.retrieval.scoring import scores

EXAMPLES = 3  # skipped queries that are named


@dataclass(frozen=True)
class Side:
    """The query or the gallery: features [N, D], which stay in their file, a record each that knows identity, camera
    and scene (the same one for equal labels, unless they must be told apart), and names for messages."""

    features: FeatureRows
    records: list[Record]
    names: Sequence[str]


def evaluate_features(
    features: Sequence[str | Path],
    labels: Sequence[str | Path],
    *,
    protocol: str | None = None,
    similarity: str = "cosine",
    columns: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
    analysis: Analysis | None = None,
) -> dict[str, Any]:
    """The object that ``evaluate --features --json`` prints: that of :func:`reidtune.evaluation.evaluate_dataset`
    without backbone and delta, and with what the features are.

    Args:
        features: ``.npy`` or ``.safetensors`` files of query and gallery, [Q, D] and [G, D]; or one file [N, D], of
            which the column ``split`` of its labels says which rows are which. Without one, all rows are both.
        labels: a table (see :func:`reidtune.data.labels.read_labels`) for each, a row for each feature. Names of any
            kind serve as identities, cameras and scenes; identity −1 is junk: never ranked, and no query.
        protocol: default ``cross-camera`` where there are several cameras and all are known, else ``leave-one-out`` of
            one set and ``all`` of two. ``cross-modality`` ranks captions against images, and back; under
            ``random-gallery`` the rows of both files are one set.
        similarity: ``cosine``, or ``euclidean`` of the features as they are.
        columns: which column of the tables is what, where they call them otherwise.
        say: gets sentences for the user.
        analysis: what else is done; it holds the features in memory.

    Raises:
        DataError: a file is missing or damaged, features and labels do not agree, or no query can be scored.
        SettingsError: not one or two files of each, an unknown protocol or similarity, or one that does not fit, or
            ``columns`` that are not there.
    """
    files, tables = [Path(file).expanduser() for file in features], [Path(file).expanduser() for file in labels]
    if len(files) not in (1, 2) or len(tables) != len(files):
        raise SettingsError(
            f"--features names {_files(files)} and --labels {_files(tables)}.",
            "Give query and gallery, or one of each: --features query.npy gallery.npy --labels query.csv gallery.csv.",
        )
    if protocol is not None:
        check_protocol(protocol)
    if similarity not in SIMILARITIES:
        raise SettingsError(f'Unknown similarity "{similarity}".', f"Choose one of {', '.join(SIMILARITIES)}.")
    known = [read_labels(table, columns) for table in tables]
    arrays = [FeatureRows(file, name) for file, name in zip(files, ("query", "gallery"), strict=False)]
    for file, array, label in zip(files, arrays, known, strict=True):
        if len(array) != len(label):
            raise DataError(
                f'"{show(file)}" has {len(array):,} features, but "{show(label.path)}" has {len(label):,} rows.',
                "The table needs a row for every feature, in the same order.",
            )
    if arrays[0].width != arrays[-1].width:
        raise DataError(
            f'The features of "{show(files[0])}" have {arrays[0].width:,} values, those of "{show(files[1])}" '
            f"{arrays[1].width:,}.",
            "Query and gallery must come from the same model.",
        )
    if protocol == RANDOM_GALLERY:
        query = gallery = _one_set(_labelled(arrays, known, analysis is not None, say), known)
    else:
        query, gallery = _sides(_labelled(arrays, known, analysis is not None, say), known, say)
    text = protocol == CROSS_MODALITY
    if text and query is gallery:
        raise SettingsError(
            "The protocol cross-modality needs captions and images, and here one set is query and gallery.",
            "Give two files: --features captions.npy images.npy.",
        )
    chosen = settle_protocol(protocol, query.records, gallery.records, "text" if text else "image")
    modalities = known[0].modalities if all(label.modalities == known[0].modalities for label in known) else ()
    pieces = len(modalities) if len(modalities) > 1 and arrays[0].width % len(modalities) == 0 else 1
    result, facts = _rank(query, gallery, chosen, similarity, pieces, analysis)
    skipped = dict.fromkeys(query.names[row] for row in result.skipped_queries)
    return {
        "schema": 1,
        "task": "text" if text else "multimodal" if pieces > 1 else "image",
        "layout": "features",
        "protocol": result.protocol,
        "tie_rule": result.tie_rule,
        **scores(result),
        "skipped_examples": list(skipped)[:EXAMPLES],
        **facts,
        **({"image_to_text": _back(query, gallery, chosen, similarity, pieces, analysis)} if text else {}),
        **({"modalities": {side: list(modalities) for side in ("query", "gallery")}} if pieces > 1 else {}),
        "data": {"hash": _digest(query, gallery)},
        "backbone": None,
        "delta": None,
        "features": {
            "query": str(files[0]),
            "gallery": str(files[-1]),
            "dimensions": arrays[0].width,
            "dtype": arrays[0].dtype,
            "similarity": similarity,
        },
    }


def _sides(sides: Sequence[Side], known: Sequence[Labels], say: Callable[[str], None]) -> tuple[Side, Side]:
    """Query and gallery, without junk among the queries; the same object where one set is both."""
    rows = known[0].sides() if len(known) == 1 else (range(len(known[0])), range(len(known[1])))
    junk = int(JUNK)
    queries = [row for row in rows[0] if sides[0].records[row].identity != junk]
    if not queries:
        raise DataError(f'All queries of "{show(known[0].path)}" are junk (identity −1).', "Give other labels.")
    one_set = rows[0] is rows[1]
    if dropped := len(rows[0]) - len(queries):
        say(f"Left out{'' if one_set else ' of the queries'}: {dropped:,} junk (identity −1).")
    if one_set:  # also without its junk: that both sides are one decides which protocols there are
        one = _select(sides[0], queries)
        return one, one
    return _select(sides[0], queries), _select(sides[-1], rows[1])


def _one_set(sides: Sequence[Side], known: Sequence[Labels]) -> Side:
    """The test rows of one file, or of two, one after the other; without junk."""
    rows = [list(range(len(label))) for label in known]
    if len(known) == 1:
        rows = [sorted({*known[0].sides()[0], *known[0].sides()[1]})]
    kept = [
        _select(side, good)
        for side, some in zip(sides, rows, strict=True)
        if (good := [row for row in some if side.records[row].identity != int(JUNK)])
    ]
    if not kept:
        raise DataError(f'All rows of "{show(known[0].path)}" are junk (identity −1).', "Give other labels.")
    if len(kept) == 1:
        return kept[0]
    both = torch.cat([side.features.whole() for side in kept])
    return Side(FeatureRows(both, "query"), [*kept[0].records, *kept[1].records], [*kept[0].names, *kept[1].names])


def _labelled(
    arrays: Sequence[FeatureRows], known: Sequence[Labels], apart: bool, say: Callable[[str], None]
) -> list[Side]:
    """All rows of each file, their identities, cameras and scenes in one numbering; ``apart`` with a record of its own
    for each."""
    numbers = number_names(name for label in known for name in label.identity)
    places = [_places([getattr(label, key) for label in known], key, say) for key in _PLACES]

    def record(identity: str, camera: str, scene: str) -> Record:
        return Record((), numbers[identity], camera=places[0].get(camera), scene=places[1].get(scene))

    make = record if apart else cache(record)
    return [
        Side(array, list(map(make, label.identity, label.camera, label.scene)), label.names)
        for array, label in zip(arrays, known, strict=True)
    ]


_PLACES = ("camera", "scene")


def _places(tables: Sequence[Sequence[str]], key: str, say: Callable[[str], None]) -> dict[str, int]:
    """A number for every camera or scene; of none where only some rows have one, since no rule fits all of them."""
    total, empty = sum(map(len, tables)), sum(values.count("") for values in tables)
    if 0 < empty < total:
        say(f"The {key} is empty in {empty:,} of {total:,} rows.")
    return {name: number for number, name in enumerate(sorted({*chain(*tables)} - {""}))}


def _select(side: Side, rows: Sequence[int]) -> Side:
    """Some rows; nothing of the features is read or copied."""
    if len(rows) == len(side.records) and rows[0] == 0 and rows[-1] == len(rows) - 1:
        return side
    names = side.names.of(rows) if isinstance(side.names, Names) else [side.names[row] for row in rows]
    return Side(side.features.take(rows), [side.records[row] for row in rows], names)


def _back(
    query: Side, gallery: Side, protocol: str, similarity: str, pieces: int, analysis: Analysis | None
) -> dict[str, Any]:
    """The other direction; decisions are about the same pairs."""
    analysis = None if analysis is None else replace(analysis, decisions=False)
    result, facts = _rank(gallery, query, protocol, similarity, pieces, analysis)
    return scores(result) | facts


def _rank(
    query: Side, gallery: Side, protocol: str, similarity: str, pieces: int, analysis: Analysis | None
) -> tuple[RankResult, dict[str, Any]]:
    """The ranking, and what an analysis says of it."""
    pieces = pieces if similarity == "cosine" else 1
    key = "scene" if protocol == CROSS_SCENE else "camera"
    cameras = [_numbers(side, key) for side in (query, gallery)]
    result = rank(
        query.features,
        gallery.features,
        query_ids=_numbers(query, "identity"),
        gallery_ids=_numbers(gallery, "identity"),
        query_cameras=cameras[0],
        gallery_cameras=cameras[1],
        protocol=protocol,
        similarity=similarity,
        pieces=pieces,
    )
    if analysis is None:
        return result, {}
    features = query.features.whole(), gallery.features.whole()
    done = analyse(result, features, query.records, gallery.records, analysis, similarity=similarity, pieces=pieces)
    return done.result, done.facts


def _numbers(side: Side, key: str) -> Any:
    """int64 [N] of the records; ``None`` where one is unknown."""
    if any(getattr(record, key) is None for record in side.records):
        return None
    return np.fromiter((getattr(record, key) for record in side.records), np.int64, len(side.records))


def _digest(query: Side, gallery: Side) -> str:
    """SHA-256 over identity, camera and scene of every row, and which side it is of."""
    digest = hashlib.sha256()
    for name, side in (("query", query), ("gallery", gallery)):
        for record in side.records:
            digest.update(f"{name}\t{record.identity}\t{record.camera}\t{record.scene}\n".encode())
    return digest.hexdigest()


def _files(files: Sequence[Path]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files) or 'no'} files"
