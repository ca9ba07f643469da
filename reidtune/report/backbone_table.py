"""What ``reidtune backbones`` prints: a row for each architecture, and below it why towers are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reidtune.report.tables import GAP, Fitting, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

_FEW = 8  # so many rows are shown with all their tags
_TAGS = 1  # of more rows, so many tags each
_TAG_WIDTH = 24
TINY = "tiny: embedded, always there; for demos and tests"
_HEADINGS = ("name", "image tower", "text tower", "pixels", "features", "tags")
CLIP_BPE = "clip-bpe"


def backbone_report(rows: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> RenderableType:
    """Rows of :func:`reidtune.backbone.catalogue.catalogue` for people: parameters of the towers that are supported, a
    number in brackets where there is more to say, which stands below."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    notes: list[str] = []
    cells = [_cells(row, notes, None if len(rows) <= _FEW else _TAGS) for row in rows]
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    widths = [max(len(row[place]) for row in [_HEADINGS, *cells]) for place in range(len(_HEADINGS))]
    for place, heading in enumerate(_HEADINGS):
        number = place in (1, 2, 3, 4)
        table.add_column(heading, justify="right" if number else "left", no_wrap=place < 5, overflow="fold")
    for row in cells:
        table.add_row(*(Text(visible(cell)) for cell in row))
    stack = [
        Text(visible(f"{name}: image {image}, text {text}, {pixels} pixels, {features} features; {tags or 'no tags'}"))
        for name, image, text, pixels, features, tags in cells
    ]
    below = [Text(visible(f"[{number}] {note}"), overflow="fold") for number, note in enumerate(notes, 1)]
    least = sum(widths[:-1]) + min(_TAG_WIDTH, widths[-1]) + GAP * (len(widths) - 1)
    return Group(Fitting(table, least, Group(*stack)), "", *below, Text(summary(rows, versions), "bold"))


def summary(rows: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> str:
    """``113 of 144 have an image tower here, 106 of them a text tower too (open_clip 3.3.0, timm 1.0.31).``"""
    images = [row for row in rows if row["image"]["supported"]]
    both = sum(row["text"]["supported"] for row in images)
    made = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"{len(images)} of {len(rows)} have an image tower here, {both} of them a text tower too ({made})."


def _cells(row: Mapping[str, Any], notes: list[str], most: int | None) -> list[str]:
    towers = []
    for kind in ("image", "text"):
        tower = row[kind]
        note = tower["reason"]
        if kind == "text" and tower["supported"] and row["tokenizer"] != CLIP_BPE:
            note = f"its texts need a tokenizer of the Hugging Face hub, and {_packages(row['tokenizer'])}"
        towers.append(_size(tower) + _mark(note, notes))
    tags, height_width = row["tags"], "x".join(str(side) for side in row["image_size"])
    shown = tags if most is None else tags[:most]
    more = f" and {len(tags) - len(shown)} more" if len(tags) > len(shown) else ""
    return [row["name"], *towers, height_width, str(row["features"]), ", ".join(shown) + more]


def _packages(tokenizer: str) -> str:
    """BERT's vocabulary is a plain list of words; the others' are models of sentencepiece."""
    if tokenizer.startswith("bert-"):
        return "the package transformers"
    return "the packages transformers and sentencepiece"


def _size(tower: Mapping[str, Any]) -> str:
    return f"{tower['parameters'] / 1e6:,.0f} M" if tower["supported"] else "no"


def _mark(note: str, notes: list[str]) -> str:
    if not note:
        return ""
    if note not in notes:
        notes.append(note)
    return f" [{notes.index(note) + 1}]"
