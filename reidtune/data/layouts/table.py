"""A table of images: CSV or JSONL with the columns path, identity and, where known, camera, scene, split, caption.

One row is one image; rows that repeat an image with another caption add the caption to it. Where all images that train
or are looked for have a caption, the task is text. Paths are relative to the table. ``split`` is train, val, test,
query or gallery. Identity ``-1`` is junk: in the gallery, never ranked.

Samples of several modalities are one row each with one column a modality instead of path (``path_rgb``, ``path_nir``,
``path_depth`` …; an empty cell is a missing image), or one row an image with the column ``modality``. In the latter
case a column ``sample`` says which images belong together; without it they are those of the same identity, camera,
scene, split and file name, where folders, suffixes and the modality's own word at the end of the name (``7_nir.png``)
do not count.

A table that calls its columns otherwise is read with a mapping; see :mod:`reidtune.data.layouts.columns`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from reidtune.data.layouts.assemble import assemble, number_names, resolve_splits
from reidtune.data.layouts.columns import COLUMNS, example_for
from reidtune.data.layouts.registry import Layout
from reidtune.data.layouts.rows import open_rows, read_rows
from reidtune.data.layouts.table_rows import (
    Row,
    bad_row,
    joined_rows,
    merged_rows,
    modalities_of,
    path_columns,
)
from reidtune.data.record import Dataset, ImageFile, Record
from reidtune.data.scan import show
from reidtune.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")


def recognise(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read(path: Path, protocol: str | None = None, columns: Mapping[str, str] | None = None) -> Dataset:
    """The dataset that the table ``path`` lists; ``columns`` maps what is read to the table's own columns. Raises
    ``DataError`` naming the column or line that is wrong, ``SettingsError`` for columns that are not there."""
    if path.is_dir():
        raise DataError(f'"{show(path)}" is a folder, not a table.', "Give the .csv, .tsv or .jsonl file itself.")
    named, lines = read_rows(path, columns)
    paths = path_columns(path, named)
    missing = [name for name, there in (("path", bool(paths)), ("identity", "identity" in named)) if not there]
    if missing:
        own = open_rows(path)[0]
        raise DataError(
            f'"{show(path)}" has no column {" and no column ".join(missing)}; its columns are: '
            f"{', '.join(show(name) for name in own) or 'none'}.",
            f"Say which column it is: {example_for(missing, own)}. A table needs path (or path_rgb, path_nir … for "
            "several modalities) and identity; camera, scene, split, caption, modality and sample are optional.",
        )
    rows = merged_rows(path, lines, paths)
    if not rows:
        raise DataError(f'The table "{show(path)}" has no rows.', "Write one row an image: path,identity.")
    modalities, joining = modalities_of(rows), list[str]()
    if "path" in paths and len(modalities) > 1:
        rows = joined_rows(path, rows)
        joining = _joining(rows)
    several = len(modalities) > 1
    numbers = number_names(row.identity for row in rows)
    cameras = _numbered(path, rows, "camera", lambda row: row.camera)
    scenes = _numbered(path, rows, "scene", lambda row: row.scene)
    folder = path.parent
    parts: dict[str, list[Record]] = {}
    for row in rows:
        there = [name for name in modalities if name in row.files]
        record = Record(
            tuple(ImageFile(folder / row.files[name]) for name in there),
            numbers[row.identity],
            camera=cameras.get(row.camera),
            scene=scenes.get(row.scene),
            modalities=tuple(name or "rgb" for name in there),
            captions=tuple(row.captions),
        )
        parts.setdefault(row.split, []).append(record)
    task, captions = _task(rows, protocol, several)
    validation = parts.pop("val", []) if task == "text" and ("test" in parts or "query" in parts) else []
    needed, one = (1 if task == "text" else 2), ("sample" if several else "image")
    train, query, gallery, notes = resolve_splits(parts, path, images_needed=needed, one=one, protocol=protocol)
    notes += [*captions, *joining]
    unknown = [show(name) for name in named if name not in paths and (name not in COLUMNS or _unused(name, paths))]
    if unknown:
        notes.append(f"Columns that are not read: {', '.join(unknown)}.")
    dataset = assemble(
        path.parent,
        LAYOUT.name,
        f'Table "{show(path.name)}"',
        train,
        query,
        gallery,
        protocol=protocol,
        notes=notes,
        names={numbers[row.identity]: row.identity for row in rows if row.identity != "-1"},
        task=task,
        validation=validation,
        modalities=modalities if several else (),
    )
    return replace(dataset, camera_names=_names(cameras), scene_names=_names(scenes))


def _task(rows: Sequence[Row], protocol: str | None, several: bool) -> tuple[str, list[str]]:
    """``multimodal`` of several modalities; ``text`` where every image that trains or is looked for has a caption, or
    some have and the protocol asks for it; else ``image``; with a note where captions are not used. Images of the split
    gallery need none: they are only found.
    """
    captioned = [bool(row.captions) for row in rows if row.identity != "-1" and row.split != "gallery"]
    if several:
        return "multimodal", ["Captions are not used: the images are of several modalities."] if any(captioned) else []
    if not any(captioned):
        return "image", []
    if all(captioned) or protocol == "cross-modality":
        return "text", []
    note = (
        f"Captions are not used: only {sum(captioned):,} of {len(captioned):,} images have one; for search by text, "
        "give all of train, val, test and query a caption, or choose the protocol cross-modality."
    )
    return "image", [note]


def _joining(rows: Sequence[Row]) -> list[str]:
    """How images of a column ``modality`` became samples."""
    if rows[0].sample:
        return []
    if all(len(row.files) == 1 for row in rows):
        return ["Careful: no two images belong to one sample by their names; a column sample can say which ones do."]
    return ["Images of the same identity, camera, scene and file name are one sample; there is no column sample."]


def _unused(name: str, paths: dict[str, str]) -> bool:
    return name in ("modality", "sample") and "path" not in paths


def _numbered(path: Path, rows: Sequence[Row], column: str, get: Callable[[Row], str]) -> dict[str, int]:
    """A number for every name in ``column``: its own where all are whole numbers, else 0, 1, 2 … in sorted order.

    Raises where only a part of the test rows has a value: no rule could then be applied to all of them.
    """
    test = [row for row in rows if row.split != "train"]
    known = next((row for row in test if get(row)), None)
    blank = next((row for row in test if not get(row)), None)
    if known is not None and blank is not None:
        raise bad_row(path, blank.line, f"{column} is empty, but line {known.line} has one")
    names = sorted({get(row) for row in rows} - {""})
    if all(name.isascii() and name.isdigit() and len(name) <= 15 for name in names):
        numbers = {name: int(name) for name in names}
        if len(set(numbers.values())) == len(names):
            return numbers
    return {name: number for number, name in enumerate(names)}


def _names(numbers: Mapping[str, int]) -> dict[int, str]:
    """The names behind numbers; none where they are numbers themselves."""
    own = all(name.isascii() and name.isdigit() and int(name) == number for name, number in numbers.items())
    return {} if own else {number: name for name, number in numbers.items()}


LAYOUT = Layout(
    name="table",
    summary="CSV or JSONL: path (or path_rgb, path_nir …), identity[, camera, scene, split, caption, modality, sample]",
    recognise=recognise,
    read=read,
    takes_columns=True,
    aliases=("csv", "jsonl"),
)
