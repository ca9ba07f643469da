"""The rows of a table checked one by one, those of one image or one sample joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from reidtune.data.layouts.assemble import SPLITS
from reidtune.data.layouts.columns import COLUMNS, PATH
from reidtune.data.layouts.rows import Rows
from reidtune.data.modality import ALIASES, in_order, modality_name, without_word
from reidtune.data.scan import show
from reidtune.errors import DataError, did_you_mean

_BLANK = dict.fromkeys(COLUMNS, "")


@dataclass(slots=True)
class Row:
    """One image of the table, or one sample, as text. ``files`` are its paths by modality, ``""`` where the table does
    not say which; ``line`` is where it stands, for messages."""

    line: int
    files: dict[str, str]
    identity: str
    camera: str
    scene: str
    split: str
    sample: str
    captions: list[str]


def path_columns(path: Path, columns: Sequence[str]) -> dict[str, str]:
    """``{column: modality}`` of the columns of paths: ``{"path": ""}``, or all that begin with ``path_``.

    Raises ``DataError`` where two columns are of one modality, or ``path`` stands beside those of known modalities.
    """
    found = {name: modality_name(name.removeprefix(PATH)) for name in columns if name.startswith(PATH) and name != PATH}
    if "path" in columns:
        known = [name for name, modality in found.items() if modality in ALIASES]
        if known:
            raise DataError(
                f'"{show(path)}" has the column path beside {" and ".join(show(name) for name in known)}: of which '
                "modality its images are is not said.",
                "Rename path, such as to path_rgb, or take it out.",
            )
        return {"path": ""}
    for name, modality in found.items():
        first = next(other for other, same in found.items() if same == modality)
        if first != name:
            raise DataError(
                f'"{show(path)}" has two columns of the modality {show(modality)}: {show(first)} and {show(name)}.',
                "Rename or remove one of the two.",
            )
    return found


def merged_rows(path: Path, lines: Rows, paths: Mapping[str, str]) -> list[Row]:
    """One row an image, or a sample where ``paths`` are several columns, and split; its captions are collected.

    Raises ``DataError`` naming the line that is incomplete, repeats an image without a new caption, or contradicts
    another.
    """
    rows = [_row(path, line, cells, paths) for line, cells in lines]
    merged: list[Row] = []
    seen: dict[tuple[str, str], Row] = {}
    owners: dict[str, Row] = {}
    with_split = next((row for row in rows if row.split), None)
    for row in rows:
        if with_split is not None and not row.split:
            raise bad_row(path, row.line, f"split is empty, but line {with_split.line} has one")
        for file in row.files.values():
            if (owner := owners.setdefault(file, row)) is not row:
                _same(path, row, owner, f'"{show(file)}"')
        first = next((seen[file, row.split] for file in row.files.values() if (file, row.split) in seen), None)
        if first is None:
            merged.append(row)
            seen.update({(file, row.split): row for file in row.files.values()})
        elif row.captions and row.files == first.files and row.sample == first.sample:
            first.captions.extend(row.captions)
        else:
            file = next(file for file in row.files.values() if (file, row.split) in seen)
            raise bad_row(path, row.line, f'"{show(file)}" is already in line {seen[file, row.split].line}')
    return merged


def joined_rows(path: Path, rows: Sequence[Row]) -> list[Row]:
    """One row a sample from one row an image of several modalities. Images belong together that have the same
    ``sample`` and split; without that column, the same identity, camera, scene, split and file name, where neither
    folder nor suffix counts, nor a modality's own word at the end (``7_nir.png`` of the modality nir).

    Raises ``DataError`` naming the line that names no modality or sample, or repeats a modality of a sample.
    """
    for column, blank in (
        ("modality", ["" in row.files for row in rows]),
        ("sample", [not row.sample for row in rows]),
    ):
        if any(blank) and not all(blank):
            lines = rows[blank.index(True)].line, rows[blank.index(False)].line
            raise bad_row(path, lines[0], f"{column} is empty, but line {lines[1]} has one")
    keys = [(row.sample, row.split) for row in rows] if rows[0].sample else _keys(rows)
    joined: dict[tuple[str, ...], Row] = {}
    for key, row in zip(keys, rows, strict=True):
        first = joined.setdefault(key, replace(row, files={}, captions=[]))
        _same(path, row, first, f'the sample "{show(row.sample)}"')
        for modality, file in row.files.items():
            if modality in first.files:
                hint = "" if row.sample else '; a column "sample" can tell samples apart'
                raise bad_row(
                    path,
                    row.line,
                    f"a second {show(modality)} image of the sample that begins in line {first.line}{hint}",
                )
            first.files[modality] = file
        first.captions += [caption for caption in row.captions if caption not in first.captions]
    return list(joined.values())


def modalities_of(rows: Sequence[Row]) -> tuple[str, ...]:
    return in_order(modality for row in rows for modality in row.files)


def bad_row(path: Path, line: int, what: str) -> DataError:
    return DataError(f'"{show(path)}", line {line}: {what.rstrip(".")}.', "Correct the row, or leave it out.")


def _row(path: Path, line: int, cells: dict[str, list[str]], paths: Mapping[str, str]) -> Row:
    """``cells`` as a row; only caption may hold several texts."""
    text = {**_BLANK, **{name: texts[0].strip() for name, texts in cells.items() if texts}}
    files = {modality: text[name] for name, modality in paths.items() if text.get(name)}
    if not files:
        raise bad_row(
            path, line, f"{' and '.join(show(name) for name in paths)} {'are' if len(paths) > 1 else 'is'} empty"
        )
    if not text["identity"]:
        raise bad_row(path, line, "identity is empty")
    if "path" in paths and text["modality"]:
        files = {modality_name(text["modality"]): text["path"]}
    split = text["split"].lower()
    if split and split not in SPLITS:
        raise bad_row(
            path, line, f'split is "{show(split)}", not one of {", ".join(SPLITS)}.{did_you_mean(split, SPLITS)}'
        )
    captions = [caption.strip() for caption in cells.get("caption", []) if caption.strip()]
    return Row(line, files, text["identity"], text["camera"], text["scene"], split, text["sample"], captions)


def _same(path: Path, row: Row, first: Row, what: str) -> None:
    for name in ("identity", "camera", "scene"):
        if getattr(first, name) != getattr(row, name):
            values = f'"{show(getattr(row, name))}", but "{show(getattr(first, name))}" in line {first.line}'
            raise bad_row(path, row.line, f"{name} of {what} is {values}")


def _keys(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """What tells samples apart: by whole names, or, where that joins more, by names without the modality's word."""
    ways = [[_key(row, bare) for row in rows] for bare in (False, True)]
    images = [{(key, modality) for key, row in zip(keys, rows, strict=True) for modality in row.files} for keys in ways]
    clear = [keys for keys, known in zip(ways, images, strict=True) if len(known) == len(rows)]
    return min(clear or ways[:1], key=lambda keys: len(set(keys)))


def _key(row: Row, bare: bool) -> tuple[str, ...]:
    ((modality, file),) = row.files.items()
    stem = PurePosixPath(file.replace("\\", "/")).stem
    return (row.identity, row.camera, row.scene, row.split, without_word(stem, modality) if bare else stem)
