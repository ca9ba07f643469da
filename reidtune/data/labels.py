"""Labels of features that others made: a table with a row for each feature, and which rows are queries and gallery."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from reidtune.data.layouts.assemble import SPLITS
from reidtune.data.layouts.rows import open_rows
from reidtune.data.layouts.table_rows import path_columns
from reidtune.data.modality import in_order
from reidtune.data.scan import show
from reidtune.errors import DataError, did_you_mean

COLUMNS = {  # what a column may be called; the first that is there is read
    "identity": ("identity", "pid", "id"),
    "camera": ("camera", "camid", "cam"),
    "scene": ("scene", "sceneid"),
    "split": ("split",),
}
JUNK = "-1"
_WHOLE = re.compile(r"(-?\d+)\.0+")  # data frames write whole numbers so once a cell of the column is empty


class Names(Sequence[str]):
    """Which images ``rows`` of a table are: its ``texts``, and the number of a row where there is none."""

    def __init__(self, texts: Sequence[str], rows: Sequence[int]) -> None:
        self._texts, self._rows = texts, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Names: ...
    def __getitem__(self, place: int | slice) -> str | Names:
        if isinstance(place, slice):
            return Names(self._texts, self._rows[place])
        row = self._rows[place]
        return self._texts[row] or f"row {row}"

    def of(self, places: Sequence[int]) -> Names:
        """Those of some places."""
        return Names(self._texts, [self._rows[place] for place in places])


@dataclass(frozen=True)
class Labels:
    """The rows of the table ``path``, as text; empty where unknown. ``names`` say which image a row is, for messages;
    ``modalities`` are those of samples, each with a column ``path_NAME``, else empty. Equal texts are one object, so
    that a row takes little memory."""

    path: Path
    identity: list[str]
    camera: list[str]
    scene: list[str]
    split: list[str]
    names: Names
    modalities: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.identity)

    def sides(self) -> tuple[Sequence[int], Sequence[int]]:
        """Which rows are queries and which gallery, in order, by the column ``split``; the same list where one set is
        both. Rows of ``test`` are both; beside rows of ``query`` they are gallery where there is no ``gallery``.

        Raises:
            DataError: there are no queries or no gallery.
        """
        if not any(self.split):
            everything = range(len(self))
            return everything, everything
        rows: dict[str, list[int]] = {}
        for row, split in enumerate(self.split):
            rows.setdefault(split, []).append(row)
        if "query" in rows and ("gallery" in rows or "test" in rows):
            return rows["query"], rows["gallery" if "gallery" in rows else "test"]
        if "test" in rows and "query" not in rows:
            gallery = rows["test"]
            if "gallery" in rows:  # such as distractors
                gallery = [row for row, split in enumerate(self.split) if split in ("test", "gallery")]
            return rows["test"], gallery
        there = ", ".join(f"{len(found):,} of {split}" for split, found in rows.items())
        raise DataError(
            f'The column split of "{show(self.path)}" has no query and gallery, and no test: its rows are {there}.',
            "Take the column out where all rows are one set that is query and gallery.",
        )


def read_labels(path: Path, mapping: Mapping[str, str] | None = None) -> Labels:
    """The labels in a ``.csv``, ``.tsv`` or ``.jsonl`` table with the columns of :data:`COLUMNS`, of which only the
    identity must be there; ``mapping`` says which is which where they are called otherwise
    (:mod:`reidtune.data.layouts.columns`). Other columns may stand beside them.

    Raises:
        SettingsError: the ``mapping`` does not fit the columns.
        DataError: there is no such file, no such column, no row, or a row has no identity, an unknown split or, unlike
            others, no split; the line is named.
    """
    try:
        columns, lines = open_rows(path, mapping)
        paths = path_columns(path, columns)
    except OSError as error:
        raise DataError(
            f'The labels "{show(path)}" cannot be read: {error.strerror or error}.', "Check the path."
        ) from error
    found = {key: next((name for name in names if name in columns), None) for key, names in COLUMNS.items()}
    if found["identity"] is None:
        raise DataError(
            f'"{show(path)}" has no column {" or ".join(COLUMNS["identity"])}; its columns are: '
            f"{', '.join(show(name) for name in columns) or 'none'}.",
            "The first line names the columns: identity, and where known camera, scene and split. Which one is the "
            "identity, --column identity=COLUMN can say.",
        )
    cells: dict[str, list[str]] = {key: [] for key in COLUMNS}
    names: list[str] = []
    known: dict[str, str] = {}
    without_split = with_split = 0  # the first lines
    for line, row in lines:
        values = {key: _text(row, name) for key, name in found.items()}
        word = values["split"] = values["split"].lower()
        if not values["identity"]:
            raise _bad(path, line, f"{found['identity']} is empty")
        if word and word not in SPLITS:
            raise _bad(
                path, line, f'split is "{show(word)}", not one of {", ".join(SPLITS)}.{did_you_mean(word, SPLITS)}'
            )
        with_split, without_split = with_split or (line if word else 0), without_split or (0 if word else line)
        if with_split and without_split:
            raise _bad(path, without_split, f"split is empty, but line {with_split} has one")
        for key, text in values.items():
            if found[key] is not None:
                cells[key].append(known.setdefault(text, text))
        names.append(Path(next((text for name in (*paths, "caption") if (text := _text(row, name))), "")).name)
    if not names:
        raise DataError(f'The table "{show(path)}" has no rows.', "Write one row a feature.")
    nothing = [""] * len(names)
    return Labels(
        path,
        cells["identity"],
        cells["camera"] or nothing,
        cells["scene"] or nothing,
        cells["split"] or nothing,
        Names(names, range(len(names))),
        in_order(paths.values()) if paths and "path" not in paths else (),
    )


def _text(row: dict[str, list[str]], name: str | None) -> str:
    text = (row.get(name or "") or [""])[0].strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _bad(path: Path, line: int, what: str) -> DataError:
    return DataError(f'"{show(path)}", line {line}: {what.rstrip(".")}.', "Correct the row and its feature.")
