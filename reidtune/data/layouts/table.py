"""A table of images: CSV or JSONL with the columns path, identity and, where known, camera, scene, split, caption.

One row is one image; rows that repeat an image with another caption add the caption to it. Where all images that train
or are looked for have a caption, the task is text. Paths are relative to the table. ``split`` is train, val, test,
query or gallery. Identity ``-1`` is junk: in the gallery, never ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reidtune.data.layouts.assemble import SPLITS, assemble, number_names, resolve_splits
from reidtune.data.layouts.registry import Layout
from reidtune.data.layouts.rows import read_rows
from reidtune.data.record import Dataset, ImageFile, Record
from reidtune.data.scan import show
from reidtune.errors import DataError, did_you_mean

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
COLUMNS = ("path", "identity", "camera", "scene", "split", "caption", "modality")
REQUIRED = ("path", "identity")


@dataclass(slots=True)
class Row:
    """One image of the table, as text; ``line`` is where it stands, for messages."""

    line: int
    path: str
    identity: str
    camera: str
    scene: str
    split: str
    modality: str
    captions: list[str]


def recognise(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read(path: Path, protocol: str | None = None) -> Dataset:
    """The dataset that the table ``path`` lists. Raises ``DataError`` naming the column or line that is wrong."""
    if path.is_dir():
        raise DataError(f'"{show(path)}" is a folder, not a table.', "Give the .csv, .tsv or .jsonl file itself.")
    columns, lines = read_rows(path)
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise DataError(
            f'"{show(path)}" has no column {" and no column ".join(missing)}; its columns are: '
            f"{', '.join(show(name) for name in columns) or 'none'}.",
            "A table needs path and identity; camera, scene, split, caption and modality are optional.",
        )
    rows = _merge(path, [_row(path, line, cells) for line, cells in lines])
    if not rows:
        raise DataError(f'The table "{show(path)}" has no rows.', "Write one row an image: path,identity.")
    modality = _one_modality(path, rows)
    numbers = number_names(row.identity for row in rows)
    cameras = _numbered(path, rows, "camera", lambda row: row.camera)
    scenes = _numbered(path, rows, "scene", lambda row: row.scene)
    parts: dict[str, list[Record]] = {}
    for row in rows:
        record = Record(
            (ImageFile(path.parent / row.path),),
            numbers[row.identity],
            camera=cameras.get(row.camera),
            scene=scenes.get(row.scene),
            modalities=(modality,),
            captions=tuple(row.captions),
        )
        parts.setdefault(row.split, []).append(record)
    task, captions = _task(rows, protocol)
    validation = parts.pop("val", []) if task == "text" and ("test" in parts or "query" in parts) else []
    train, query, gallery, notes = resolve_splits(parts, path, images_needed=1 if task == "text" else 2)
    notes += captions
    unknown = [show(name) for name in columns if name not in COLUMNS]
    if unknown:
        notes.append(f"Columns that are not read: {', '.join(unknown)}.")
    return assemble(
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
    )


def _task(rows: Sequence[Row], protocol: str | None) -> tuple[str, list[str]]:
    """``text`` where every image that trains or is looked for has a caption, or some have and the protocol asks for it;
    else ``image``, with a note where captions are not used. Images of the split gallery need none: they are only found.
    """
    captioned = [bool(row.captions) for row in rows if row.identity != "-1" and row.split != "gallery"]
    if not any(captioned):
        return "image", []
    if all(captioned) or protocol == "cross-modality":
        return "text", []
    note = (
        f"Captions are not used: only {sum(captioned):,} of {len(captioned):,} images have one; for search by text, "
        "give all of train, val, test and query a caption, or choose the protocol cross-modality."
    )
    return "image", [note]


def _row(path: Path, line: int, cells: dict[str, list[str]]) -> Row:
    """``cells`` as a row; only caption may hold several texts."""
    for name in COLUMNS:
        if name != "caption" and len(cells.get(name, [])) > 1:
            raise bad_row(path, line, f"{name} holds {len(cells[name])} values")
    text = {name: (cells.get(name) or [""])[0].strip() for name in COLUMNS}
    for name in REQUIRED:
        if not text[name]:
            raise bad_row(path, line, f"{name} is empty")
    split = text["split"].lower()
    if split and split not in SPLITS:
        raise bad_row(
            path, line, f'split is "{show(split)}", not one of {", ".join(SPLITS)}.{did_you_mean(split, SPLITS)}'
        )
    captions = [caption.strip() for caption in cells.get("caption", []) if caption.strip()]
    return Row(line, text["path"], text["identity"], text["camera"], text["scene"], split, text["modality"], captions)


def _merge(path: Path, rows: Sequence[Row]) -> list[Row]:
    """One row an image and split. Raises where an image is repeated without a new caption, or contradicts itself."""
    merged: dict[tuple[str, str], Row] = {}
    owners: dict[str, Row] = {}
    with_split = next((row for row in rows if row.split), None)
    for row in rows:
        if with_split is not None and not row.split:
            raise bad_row(path, row.line, f"split is empty, but line {with_split.line} has one")
        owner = owners.setdefault(row.path, row)
        for name in ("identity", "camera", "scene"):
            if getattr(owner, name) != getattr(row, name):
                values = f'"{show(getattr(row, name))}", but "{show(getattr(owner, name))}" in line {owner.line}'
                raise bad_row(path, row.line, f'{name} of "{show(row.path)}" is {values}')
        first = merged.setdefault((row.path, row.split), row)
        if first is not row:
            if not row.captions or (row.modality != first.modality):
                raise bad_row(path, row.line, f'"{show(row.path)}" is already in line {first.line}')
            first.captions.extend(row.captions)
    return list(merged.values())


def _one_modality(path: Path, rows: Sequence[Row]) -> str:
    first = rows[0]
    for row in rows:
        if row.modality.lower() != first.modality.lower():
            raise DataError(
                f'"{show(path)}" mixes modalities: "{show(first.modality)}" in line {first.line}, '
                f'"{show(row.modality)}" in line {row.line}; tables of several modalities are not read yet.',
                "Write one table a modality.",
            )
    return first.modality.lower() or "rgb"


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


def bad_row(path: Path, line: int, what: str) -> DataError:
    return DataError(f'"{show(path)}", line {line}: {what.rstrip(".")}.', "Correct the row, or leave it out.")


LAYOUT = Layout(
    name="table",
    summary="CSV or JSONL with the columns path, identity[, camera, scene, split, caption, modality]",
    recognise=recognise,
    read=read,
    aliases=("csv", "jsonl"),
)
