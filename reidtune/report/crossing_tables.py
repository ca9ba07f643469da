"""The tables of many deltas on many datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reidtune.report.grid import grid, percent
from reidtune.report.tables import Fitting, backbone_name, directions, names_of, obtained, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = ("mAP", "rank-1")


def crossing_tables(results: Sequence[dict[str, Any]], datasets: int) -> RenderableType:
    """A table of mAP and one of rank-1, in percent: a row for each delta, a column for each dataset; of text data one
    of each for either direction. Below them how the numbers of each dataset were obtained.

    ``results`` are ``evaluate --json`` objects, delta by delta, each on as many ``datasets``. On a terminal too narrow
    for a table the numbers stand below each name.
    """
    from rich.console import Group
    from rich.text import Text

    rows = [results[start : start + datasets] for start in range(0, len(results), datasets)]
    columns = dataset_names(results[:datasets])
    backbones = [backbone_name(row[0]["backbone"]) for row in rows]
    shared = len(set(backbones)) == 1
    names = [
        name if shared else f"{name}, {backbone}"
        for name, backbone in zip(names_of([row[0] for row in rows]), backbones, strict=True)
    ]
    names = [f"{name} [{place}]" if names.count(name) > 1 else name for place, name in enumerate(names, 1)]
    parts: list[RenderableType] = []
    kinds = dict.fromkeys(kind for result in results for kind in directions(result))
    for kind in kinds:
        for metric in SHOWN:
            title = metric if len(kinds) == 1 else f"{metric}, {kind}"
            cells = {
                visible(name): [percent(directions(result).get(kind, {}).get("metrics"), metric) for result in row]
                for name, row in zip(names, rows, strict=True)
            }
            lines = [
                f"{name}: {', '.join(f'{column} {cell}' for column, cell in zip(columns, row, strict=True))}"
                for name, row in cells.items()
            ]
            narrow = Group(*(Text(line, overflow="fold") for line in lines))
            parts += [
                Text(title, "bold"),
                "",
                Fitting(*grid([[column] for column in columns], cells, gap=2), narrow),
                "",
            ]
    below = [
        f"{column}: {sentence}"
        for column, place in zip(columns, range(datasets), strict=True)
        for sentence in dict.fromkeys(obtained(row[place]) for row in rows)
    ]
    if shared:
        below = [f"Backbone: {backbones[0]}.", *below]
    return Group(*parts, *(Text(visible(line), overflow="fold") for line in below))


def dataset_names(results: Sequence[dict[str, Any]]) -> list[str]:
    """The folder's or table's own name of each result's data, numbered where two are alike."""
    names = [visible(result["data"]["name"]) for result in results]
    count = Counter(names)
    return [f"{name} [{place}]" if count[name] > 1 else name for place, name in enumerate(names, 1)]
