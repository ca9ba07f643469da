"""The table of missing modalities: every subset of the query's against every subset of the gallery's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reidtune.report.grid import grid, percent
from reidtune.report.tables import Fitting, names_of, visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SHOWN = ("mAP", "rank-1")


def matrix_tables(results: Sequence[dict[str, Any]]) -> RenderableType:
    """For each ``evaluate --json`` object with a ``matrix`` a table of mAP and one of rank-1, in percent: a row for
    what the query has, a column for what the gallery has. On a terminal too narrow for them a line for each row."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for result, name in zip(results, names_of(results), strict=True):
        cells = result.get("matrix", [])
        for metric in SHOWN if cells else ():
            title = f"{metric} of {name}. Rows: what the query has; columns: what the gallery has."
            narrow = Group(*(Text(visible(line), overflow="fold") for line in _lines(cells, metric)))
            close = Fitting(*_table(cells, metric, gap=1), narrow)
            parts += ["", Text(visible(title), overflow="fold"), "", Fitting(*_table(cells, metric, gap=2), close)]
        if notes := _notes(cells):
            parts += ["", *(Text(note) for note in notes)]
    return Group(*parts)


def _table(cells: Sequence[dict[str, Any]], metric: str, gap: int) -> tuple[Table, int]:
    """The table, its columns ``gap`` letters apart, and how many letters it is wide."""
    queries, galleries = (list(dict.fromkeys(tuple(cell[side]) for cell in cells)) for side in ("query", "gallery"))
    order = max(queries, key=len), max(galleries, key=len)
    numbers = {(tuple(cell["query"]), tuple(cell["gallery"])): percent(cell["metrics"], metric) for cell in cells}
    rows = {visible(_places(subset, order[0])): [numbers[subset, other] for other in galleries] for subset in queries}
    return grid([[visible(name) if name in subset else "" for name in order[1]] for subset in galleries], rows, gap)


def _lines(cells: Sequence[dict[str, Any]], metric: str) -> list[str]:
    """``rgb+nir: rgb 22.2, nir 11.0, rgb+nir 26.0``: what the query has, and the number for what the gallery has."""
    rows: dict[str, list[str]] = {}
    for cell in cells:
        row = rows.setdefault("+".join(cell["query"]), [])
        row.append(f"{'+'.join(cell['gallery'])} {percent(cell['metrics'], metric)}")
    return [f"{query}: {', '.join(row)}" for query, row in rows.items()]


def _places(subset: Sequence[str], order: Sequence[str]) -> str:
    """``rgb     tir``: each name in its own column."""
    return " ".join((name if name in subset else "").ljust(len(name)) for name in order)


def _notes(cells: Sequence[dict[str, Any]]) -> list[str]:
    """What is not the same in all cells."""
    notes = []
    if any(cell["metrics"] is None for cell in cells):
        notes.append("–: no query could be scored.")
    fewer = [max(cell["left_out"].values()) for cell in cells]
    if any(fewer):
        notes.append(f"Samples that have none of a subset are left out there: up to {max(fewer):,} of a side.")
    return notes
