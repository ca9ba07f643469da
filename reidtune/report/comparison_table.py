"""A comparison on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reidtune.report.comparison_cells import NOTHING, also_of, cells_of, headings_of, notes_of
from reidtune.report.tables import GAP, NAME_WIDTH, Fitting, visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def comparison_table(content: Mapping[str, Any]) -> RenderableType:
    """A row a method, the backbone alone first, then by falling mAP, and below how the numbers were obtained; of a
    join a table for each further dataset. On a terminal too narrow for a table the numbers stand below each name."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_fitting(headings_of(content), cells_of(content)), ""]
    parts += [Text(visible(line), overflow="fold") for line in notes_of(content)]
    for name, lines, obtained in also_of(content):
        parts += ["", Text(f"On {visible(name)}", "bold"), "", _fitting(("method", "mAP", "rank-1"), lines), ""]
        parts.append(Text(visible(obtained), overflow="fold"))
    return Group(*parts)


def _fitting(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Fitting:
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table: Table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    longest = max(len(visible(row[0])) for row in rows)
    table.add_column(headings[0], overflow="fold", min_width=min(NAME_WIDTH, longest))
    widths = []
    for place, heading in enumerate(headings[1:], 1):
        widest = max(len(row[place]) for row in rows)
        words = (heading.replace("/", "\n/ ") if len(heading) > widest else heading).split("\n")
        widths.append(max(widest, *map(len, words)))
        # Moved to the right here: Rich would do so without the spaces at the end.
        lines = "\n".join(word.rjust(widths[-1]) for word in words)
        table.add_column(lines, no_wrap=True, min_width=widths[-1])
    narrow: list[Text] = []
    for name, *cells in rows:
        table.add_row(
            Text(visible(name), overflow="fold"),
            *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)),
        )
        pairs = [(heading, cell.strip()) for heading, cell in zip(headings[1:], cells, strict=True)]
        told = ", ".join(f"{heading} {cell}" for heading, cell in pairs if cell != NOTHING)
        narrow += [
            Text(visible(name), "bold", overflow="fold"),
            *([Text(f"  {told}", overflow="fold")] if told else []),
        ]
    width = sum((column.min_width or 0) + GAP for column in table.columns) - GAP
    return Fitting(table, width, Group(*narrow))
