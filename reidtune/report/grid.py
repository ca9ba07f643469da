"""Numbers in rows and columns, as narrow as they can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_NUMBER = len("95.4")


def grid(headings: Sequence[Sequence[str]], rows: Mapping[str, Sequence[str]], gap: int) -> tuple[Table, int]:
    """A table of ``rows`` by their names, each column under the lines of its heading, ``gap`` letters apart; and how
    many letters it is wide."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, gap - 1))
    table.add_column("", no_wrap=True, min_width=max(map(len, rows)))
    for lines in headings:
        width = max(_NUMBER, *map(len, lines))
        table.add_column(Text("\n".join(lines), justify="right"), justify="right", no_wrap=True, min_width=width)
    for name, numbers in rows.items():
        table.add_row(Text(name), *numbers)
    return table, sum((column.min_width or 0) + gap for column in table.columns) - gap


def percent(metrics: Mapping[str, float] | None, metric: str) -> str:
    """Percent in four letters; a dash where nothing could be scored."""
    if metrics is None:
        return "–"
    number = 100 * metrics[metric]
    return "100" if number >= 99.95 else f"{number:.1f}"
