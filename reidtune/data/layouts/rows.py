"""Reading the rows of a CSV or JSONL file as text, each with its line number."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from reidtune.data.layouts.columns import is_role, roles_of
from reidtune.data.scan import show
from reidtune.errors import DataError

Line = tuple[int, dict[str, list[str]]]
Rows = list[Line]
HINT = "Correct the row, or leave it out."


def read_rows(path: Path, mapping: Mapping[str, str] | None = None) -> tuple[list[str], Rows]:
    """Column names in lower case and ``(line, {column: texts})`` a row; blank lines are passed over. With a ``mapping``
    ``{what: column}`` columns go by what they are; see :mod:`reidtune.data.layouts.columns`.

    Raises ``DataError`` naming the line where the file is not UTF-8, not CSV or JSON, or a row has the wrong width, and
    ``SettingsError`` where the ``mapping`` does not fit the columns.
    """
    columns, rows = open_rows(path, mapping)
    return columns, list(rows)


def open_rows(path: Path, mapping: Mapping[str, str] | None = None) -> tuple[list[str], Iterator[Line]]:
    """As :func:`read_rows`, the rows one by one: those of a CSV file are not held in memory. What is wrong with a row
    is raised when it is its turn."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        with _utf8(path):
            text = path.read_bytes().decode("utf-8-sig")
        columns, rows = _json_lines(path, text, mapping or {})
        return columns, iter(rows)
    names: list[list[str]] = []  # what each column is
    lines = _csv(path, mapping or {}, names)
    first = next(lines, None)
    columns = [name for several in names for name in several]
    return columns, iter(()) if first is None else chain([first], lines)


@contextmanager
def _utf8(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        with path.open("rb") as file:
            line = next((number for number, content in enumerate(file, 1) if not _is_utf8(content)), 1)
        raise DataError(f'"{show(path)}", line {line}: not UTF-8 text.', "Save the table as UTF-8.") from error


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _csv(path: Path, mapping: Mapping[str, str], columns: list[list[str]]) -> Iterator[Line]:
    """The rows; before the first, ``columns`` are filled."""
    before = 0
    with _utf8(path), path.open(encoding="utf-8-sig", newline="") as file:
        header = next((line for line in file if line.strip()), "")
        file.seek(0)
        delimiter = max(",;\t", key=header.count)  # spreadsheets of half the world write semicolons
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                line, before = before + 1, reader.line_num
                if not any(cell.strip() for cell in cells):
                    continue
                if not columns:
                    columns.extend(roles_of(path, _header(path, cells), mapping).values())
                elif len(cells) != len(columns):
                    raise DataError(
                        f'"{show(path)}", line {line}: {len(cells)} cells, but {len(columns)} columns.', HINT
                    )
                else:
                    pairs = zip(columns, cells, strict=True)
                    yield line, {name: [cell] for names, cell in pairs for name in names}
        except csv.Error as error:
            raise DataError(f'"{show(path)}", line {before + 1}: not CSV ({error}).', HINT) from error


def _header(path: Path, cells: list[str]) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise DataError(f'"{show(path)}" has the column {show(twice[0])} twice.', "Rename or remove one of the two.")
    return columns


def _json_lines(path: Path, text: str, mapping: Mapping[str, str]) -> tuple[list[str], Rows]:
    columns: dict[str, None] = {}
    known: dict[str, str] = {}  # their names as they stand in the file, most of which are in every line
    found: list[tuple[int, dict[str, Any]]] = []
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f'"{show(path)}", line {line}: not JSON ({error}).', HINT) from error
        if not isinstance(values, dict):
            raise DataError(f'"{show(path)}", line {line}: not a JSON object.', 'Write {"path": …, "identity": …}.')
        row = {known.get(name) or known.setdefault(name, name.strip().lower()): values[name] for name in values}
        columns.update(dict.fromkeys(row))
        found.append((line, row))
    roles = roles_of(path, list(columns), mapping)
    rows = [
        (line, {name: _texts(path, line, name, value) for column, value in row.items() for name in roles[column]})
        for line, row in found
    ]
    return [name for names in roles.values() for name in names], rows


def _texts(path: Path, line: int, name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if value is None:
        return []
    if isinstance(value, list) and name == "caption":
        return [text for item in value for text in _texts(path, line, name, item)]
    if isinstance(value, float) and value.is_integer():
        return [str(int(value))]  # data frames write whole numbers as 3.0 once a cell of the column is empty
    if isinstance(value, int) and not isinstance(value, bool):
        return [str(value)]
    if not is_role(name):
        return []
    raise DataError(
        f'"{show(path)}", line {line}: {show(name)} is {json.dumps(value)[:60]}, neither text nor a whole number.', HINT
    )
