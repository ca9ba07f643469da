"""Reading the rows of a CSV or JSONL file as text, each with its line number."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from reidtune.data.scan import show
from reidtune.errors import DataError

Rows = list[tuple[int, dict[str, list[str]]]]
COLUMNS = ("path", "identity", "camera", "scene", "split", "caption", "modality", "sample")
HINT = "Correct the row, or leave it out."


def read_rows(path: Path) -> tuple[list[str], Rows]:
    """Column names in lower case and ``(line, {column: texts})`` a row; blank lines are passed over.

    Raises ``DataError`` naming the line where the file is not UTF-8, not CSV or JSON, or a row has the wrong width.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f'"{show(path)}", line {line}: not UTF-8 text.', "Save the table as UTF-8.") from error
    return _json_lines(path, text) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv(path, text)


def _csv(path: Path, text: str) -> tuple[list[str], Rows]:
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets of half the world write semicolons
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    rows: Rows = []
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = _header(path, cells)
            elif len(cells) != len(columns):
                raise DataError(f'"{show(path)}", line {line}: {len(cells)} cells, but {len(columns)} columns.', HINT)
            else:
                rows.append((line, {name: [cell] for name, cell in zip(columns, cells, strict=True)}))
    except csv.Error as error:
        raise DataError(f'"{show(path)}", line {before + 1}: not CSV ({error}).', HINT) from error
    return columns, rows


def _header(path: Path, cells: list[str]) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise DataError(f'"{show(path)}" has the column {show(twice[0])} twice.', "Rename or remove one of the two.")
    return columns


def _json_lines(path: Path, text: str) -> tuple[list[str], Rows]:
    columns: dict[str, None] = {}
    rows: Rows = []
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f'"{show(path)}", line {line}: not JSON ({error}).', HINT) from error
        if not isinstance(values, dict):
            raise DataError(f'"{show(path)}", line {line}: not a JSON object.', 'Write {"path": …, "identity": …}.')
        row = {name.strip().lower(): _texts(path, line, name, value) for name, value in values.items()}
        columns.update(dict.fromkeys(row))
        rows.append((line, row))
    return list(columns), rows


def _texts(path: Path, line: int, name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list) and name.strip().lower() == "caption":
        return [text for item in value for text in _texts(path, line, name, item)]
    if isinstance(value, float) and value.is_integer():
        return [str(int(value))]  # data frames write whole numbers as 3.0 once a cell of the column is empty
    if isinstance(value, str | int) and not isinstance(value, bool):
        return [str(value)]
    if name.strip().lower() not in COLUMNS and not name.strip().lower().startswith("path_"):
        return []
    raise DataError(
        f'"{show(path)}", line {line}: {show(name)} is {json.dumps(value)[:60]}, neither text nor a whole number.', HINT
    )
