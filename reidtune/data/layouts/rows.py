"""Reading the rows of a CSV or JSONL file as text, each with its line number."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reidtune.data.layouts.columns import is_role, roles_of
from reidtune.data.scan import show
from reidtune.errors import DataError

Rows = list[tuple[int, dict[str, list[str]]]]
HINT = "Correct the row, or leave it out."


def read_rows(path: Path, mapping: Mapping[str, str] | None = None) -> tuple[list[str], Rows]:
    """Column names in lower case and ``(line, {column: texts})`` a row; blank lines are passed over. With a ``mapping``
    ``{what: column}`` columns go by what they are; see :mod:`reidtune.data.layouts.columns`.

    Raises ``DataError`` naming the line where the file is not UTF-8, not CSV or JSON, or a row has the wrong width, and
    ``SettingsError`` where the ``mapping`` does not fit the columns.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f'"{show(path)}", line {line}: not UTF-8 text.', "Save the table as UTF-8.") from error
    read = _json_lines if path.suffix.lower() in (".jsonl", ".ndjson") else _csv
    return read(path, text, mapping or {})


def _csv(path: Path, text: str, mapping: Mapping[str, str]) -> tuple[list[str], Rows]:
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets of half the world write semicolons
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[list[str]] = []  # what each is
    rows: Rows = []
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = list(roles_of(path, _header(path, cells), mapping).values())
            elif len(cells) != len(columns):
                raise DataError(f'"{show(path)}", line {line}: {len(cells)} cells, but {len(columns)} columns.', HINT)
            else:
                pairs = zip(columns, cells, strict=True)
                rows.append((line, {name: [cell] for names, cell in pairs for name in names}))
    except csv.Error as error:
        raise DataError(f'"{show(path)}", line {before + 1}: not CSV ({error}).', HINT) from error
    return [name for names in columns for name in names], rows


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
