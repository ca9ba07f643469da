"""A folder of animals with a table of them: ``metadata.csv`` with the columns path and identity, as the package
wildlife-datasets, WildlifeReID-10k (Adam et al., 2024) and AnimalCLEF have it.

Unlike any table, it has its own words: an identity that is empty or ``unknown`` is an individual that nobody knows, not
one of that name, and left out; the split ``database`` is what queries are looked up in. The day of the column ``date``
is the scene, so that ``--protocol cross-scene`` leaves out images of the query's own day; the default is
``leave-one-out``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from reidtune.data.layouts.assemble import SPLITS, assemble, number_names, resolve_splits
from reidtune.data.layouts.registry import Layout
from reidtune.data.layouts.rows import Rows, read_rows
from reidtune.data.record import Dataset, ImageFile, Record
from reidtune.data.scan import show
from reidtune.errors import DataError, did_you_mean

FILES = ("metadata.csv", "annotations.csv")
READ = ("path", "identity", "split", "date")
KNOWN_BY = ("image_id", "orientation", "species", "date", "bbox")  # one of these columns tells it from other tables
NOT_BY = ("camera", "scene", "caption", "modality", "sample")  # which have these
UNKNOWN = ("", "unknown", "nan")
UNDATED = ("", "nan", "nat", "none", "null", "unknown")
YEAR_FIRST = re.compile(r"([0-9]{4})(?:-([0-9]{1,2})-([0-9]{1,2})|([0-9]{2})([0-9]{2}))?")  # 2024-5-31, 20240531, 2024
YEAR_LAST = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})")  # 31/5/2024, of which the order does not matter
WORDS = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}


def recognise(path: Path) -> bool:
    """The table, or the folder it lies in; its first line is looked at."""
    file = _table(path)
    if file is None:
        return False
    with file.open("rb") as opened:
        head = opened.readline(10_000).decode("utf-8-sig", "replace").lower()
    columns = {name.strip().strip('"') for name in head.replace(";", ",").replace("\t", ",").split(",")}
    known_by = KNOWN_BY if file.name in FILES else KNOWN_BY[:1]
    return columns >= {"path", "identity"} and columns.isdisjoint(NOT_BY) and not columns.isdisjoint(known_by)


def read(path: Path, protocol: str | None = None) -> Dataset:
    """The dataset at ``path``. Raises ``DataError`` naming the column or line that is wrong."""
    file = _table(path)
    if file is None:
        raise DataError(
            f'"{show(path)}" has no {" or ".join(FILES)}.', "Name the table itself, or its folder once it is there."
        )
    columns, rows = read_rows(file)
    missing = [name for name in ("path", "identity") if name not in columns]
    if missing:
        raise DataError(
            f'"{show(file)}" has no column {" and no column ".join(missing)}.', "The layout table may read it."
        )
    known = [(line, cells) for line, cells in rows if _cell(cells, "identity").lower() not in UNKNOWN]
    if not known:
        raise DataError(f'No row of "{show(file)}" knows its individual.', "Write names into the column identity.")
    numbers = number_names(_cell(cells, "identity") for _, cells in known)
    scenes, days, undated = _days(file, known)
    parts: dict[str, list[Record]] = {}
    for (line, cells), split, scene in zip(known, _splits(file, known), scenes, strict=True):
        image = ImageFile(file.parent / _path(file, line, cells))
        parts.setdefault(split, []).append(Record((image,), numbers[_cell(cells, "identity")], scene=scene))
    _no_image_twice(file, known)
    train, query, gallery, notes = resolve_splits(parts, path, protocol=protocol)
    if len(known) < len(rows):
        notes.append(f"Images of unknown individuals left out: {len(rows) - len(known):,}.")
    if scenes[0] is not None:
        how = "" if protocol == "cross-scene" else "; --protocol cross-scene leaves out the query's own day"
        notes.append(f"The days of the column date are scenes{how}.")
    notes += undated
    if "bbox" in columns:
        notes.append("Careful: the boxes of the column bbox are not read; whole images are, so crop them before.")
    unread = [show(name) for name in columns if name and name not in (*READ, "bbox")]
    if unread:
        notes.append(f"Columns that are not read: {', '.join(unread)}.")
    dataset = assemble(
        file.parent,
        LAYOUT.name,
        f'Wildlife table "{show(file.name)}"',
        train,
        query,
        gallery,
        protocol=protocol,
        notes=notes,
        names={number: name for name, number in numbers.items() if number > 0},
    )
    return replace(dataset, scene_names=days)


def _table(path: Path) -> Path | None:
    if path.suffix.lower() == ".csv" and path.is_file():
        return path
    return next((path / name for name in FILES if (path / name).is_file()), None)


def _cell(cells: dict[str, list[str]], name: str) -> str:
    return (cells.get(name) or [""])[0].strip()


def _path(file: Path, line: int, cells: dict[str, list[str]]) -> str:
    name = _cell(cells, "path").replace("\\", "/")
    if not name:
        raise DataError(f'"{show(file)}", line {line}: path is empty.', "Correct the row, or leave it out.")
    return name


def _splits(file: Path, rows: Rows) -> list[str]:
    """The split of each row; ``database`` is the gallery of queries that are known, else what can be trained on."""
    words = [_cell(cells, "split").lower() for _, cells in rows]
    given = next((line for (line, _), word in zip(rows, words, strict=True) if word), None)
    database = "gallery" if "query" in words else "train"
    splits = [database if word == "database" else WORDS.get(word, word) for word in words]
    for (line, _), split, word in zip(rows, splits, words, strict=True):
        if given is not None and split not in SPLITS:
            what = f'split is "{show(word)}", not one of {", ".join(SPLITS)}, database.{did_you_mean(word, SPLITS)}'
            if not word:
                what = f"split is empty, but line {given} has one."
            raise DataError(f'"{show(file)}", line {line}: {what}', "Correct the row, or leave it out.")
    return splits


def _days(file: Path, rows: Rows) -> tuple[list[int | None], dict[int, str], list[str]]:
    """A number for the day of every row, in order of time, and the days behind the numbers; ``None`` for all where one
    is missing, since no rule fits all then, or where one is written in a way that is not known, which the last value
    says."""
    nothing: list[int | None] = [None] * len(rows)
    days: list[tuple[int, ...]] = []
    written = [_cell(cells, "date") for _, cells in rows]
    if any(text.casefold() in UNDATED for text in written):
        return nothing, {}, []
    for (line, _), text in zip(rows, written, strict=True):
        day = _day(text)
        if day is None:
            note = (
                f'Careful: date is "{show(text)}" in line {line} of "{show(file.name)}", neither a day such as '
                "2024-05-31 or 31/05/2024 nor a year, so that days are no scenes."
            )
            return nothing, {}, [note]
        days.append(day)
    numbers = {day: number for number, day in enumerate(sorted(set(days)))}
    called = {number: "-".join(f"{part:02}" for part in day) for day, number in numbers.items()}
    return [numbers[day] for day in days], called, []


def _day(text: str) -> tuple[int, ...] | None:
    """Year, month and day, or the year alone; the time behind a space or a T does not count."""
    day = re.split("[ T]", text, maxsplit=1)[0]
    if match := YEAR_FIRST.fullmatch(day):
        return tuple(int(part) for part in match.groups() if part)
    if match := YEAR_LAST.fullmatch(day):
        return int(match[3]), int(match[2]), int(match[1])
    return None


def _no_image_twice(file: Path, rows: Rows) -> None:
    seen: dict[str, int] = {}
    for line, cells in rows:
        first = seen.setdefault(name := _path(file, line, cells), line)
        if first != line:
            raise DataError(
                f'"{show(file)}", line {line}: "{show(name)}" is already in line {first}.',
                "Where an image shows several animals, crop one image of each and list these.",
            )


LAYOUT = Layout(
    name="wildlife",
    summary="a folder with metadata.csv of path, identity and image_id, date, species …: wildlife-datasets",
    recognise=recognise,
    read=read,
)
