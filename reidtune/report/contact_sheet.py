"""A picture of a dataset: some identities, a row each, seen by different cameras."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from PIL import Image, ImageDraw, ImageFont

from reidtune.data.census import splits_of
from reidtune.data.record import Dataset, Record
from reidtune.data.scan import show
from reidtune.errors import DataError
from reidtune.report.pictures import EMPTY, SEAM, SOFT, caption_field, fitted, shape_of, stacked, wrap

ROWS, SAMPLE_ROWS, COLUMNS = 8, 4, 8
_GAP, _LABEL, _LINE = 6, 20, 15
_CAPTION_WIDTH = 250
_LONGEST, _WIDEST_PLACE = 800, 100  # pixels of a line above a row, and below an image
SIDES = {"train": ("train",), "val": ("val",), "test": ("test", "query", "gallery")}
Item = TypeVar("Item")
Row = tuple[str, list[str], list[Record]]  # what stands above it, the split of each record, the records


def contact_sheet(dataset: Dataset, rows: int | None = None, columns: int = COLUMNS) -> Image.Image:
    """A row an identity: up to ``columns`` of its images, one a camera (or scene) before a second of any, and below
    each where it is from; of text data a caption at the end. Of several modalities the images of a sample stand below
    each other, named on the left.

    ``rows`` (default 8, of several modalities 4) are shared out among the splits; which identities are shown depends on
    nothing but the records. An image that cannot be read is a grey field that says so.
    """
    several = dataset.modalities
    shown = _chosen(dataset, rows or (SAMPLE_ROWS if several else ROWS), columns)
    height = 96 if several else 128
    width = max(40, round(height * shape_of([records for _, _, records in shown])))
    tall = height * max(1, len(several)) + SEAM * max(0, len(several) - 1)
    font, small = ImageFont.load_default(13), ImageFont.load_default(11)
    margin = _GAP + max((round(small.getlength(name)) + _GAP for name in several), default=0)
    places = [_place(record, split) for _, split_of, row in shown for split, record in zip(split_of, row, strict=True)]
    wide = max(width, min(_WIDEST_PLACE, max(round(small.getlength(place)) for place in places)))
    cell = (wide + _GAP, _LABEL + tall + _LINE + _GAP)
    most = max(len(records) for _, _, records in shown)
    end = margin + most * cell[0] + (_CAPTION_WIDTH if dataset.task == "text" else 0)
    longest = min(_LONGEST, max(round(font.getlength(title)) for title, _, _ in shown))
    sheet = Image.new("RGB", (max(end, margin + longest) + _GAP, len(shown) * cell[1] + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (title, split_of, records) in enumerate(shown):
        top = _GAP + number * cell[1]
        draw.text((margin, top), "".join(wrap(title, font, sheet.width - margin, 1)), "black", font)
        top += _LABEL
        for line, name in enumerate(several):
            middle = top + line * (height + SEAM) + height // 2
            draw.text((margin - _GAP, middle), name, SOFT, small, anchor="rm")
        for column, record in enumerate(records):
            left = margin + column * cell[0]
            sheet.paste(_picture(record, several, width, height, tall), (left, top))
            words = wrap(_place(record, split_of[column]), small, wide, 1)
            draw.text((left, top + tall + 1), "".join(words), SOFT, small)
        caption = next((record.captions[0] for record in records if record.captions), None)
        if dataset.task == "text" and caption is not None:
            sheet.paste(caption_field(show(caption), _CAPTION_WIDTH, height), (margin + len(records) * cell[0], top))
    return sheet


def _chosen(dataset: Dataset, rows: int, columns: int) -> list[Row]:
    """Rows from each side in turn, spread evenly over its identities, those with one image last."""
    splits = splits_of(dataset)
    people: dict[str, dict[int, list[tuple[str, Record]]]] = {}
    for side, members in SIDES.items():
        for split in members:
            for record in splits.get(split, ()):
                if record.identity > 0:
                    people.setdefault(side, {}).setdefault(record.identity, []).append((split, record))
    if not people:
        raise DataError(f'"{show(dataset.root)}" has no identity to show.')
    turns = [side for _, side in sorted((turn, side) for side, group in people.items() for turn in range(len(group)))]
    chosen = []
    for side, group in people.items():
        several = [identity for identity in sorted(group) if len(group[identity]) > 1]
        single = [identity for identity in sorted(group) if len(group[identity]) == 1]
        quota = turns[:rows].count(side)
        some = _spread(several, quota)
        some += _spread(single, quota - len(some))
        chosen += [_row(dataset, identity, group[identity], side, columns) for identity in some]
    return chosen


def _row(dataset: Dataset, identity: int, found: Sequence[tuple[str, Record]], split: str, columns: int) -> Row:
    name = dataset.identity_names.get(identity, str(identity))
    one = "sample" if dataset.modalities else "image"
    words = [f"{split}: identity {show(name)}", f"{len(found)} {one}{'s' * (len(found) != 1)}"]
    seen = sorted({record.camera for _, record in found if record.camera is not None})
    if seen:
        words.append(f"camera{'s' * (len(seen) > 1)} {', '.join(map(str, seen))}")
    places: dict[int | None, list[tuple[str, Record]]] = {}
    for entry in found:
        place = entry[1].camera if entry[1].scene is None else entry[1].scene
        places.setdefault(place, []).append(entry)
    lists = [_spread(entries, columns) for _, entries in sorted(places.items(), key=lambda item: item[0] or 0)]
    turns = [entry for entry in chain.from_iterable(zip_longest(*lists)) if entry is not None][:columns]
    return ", ".join(words), [entry[0] if split == "test" else "" for entry in turns], [entry[1] for entry in turns]


def _spread(items: Sequence[Item], number: int) -> list[Item]:
    """At most ``number`` of ``items``, evenly from the first to the last."""
    if len(items) <= number:
        return list(items)
    return [items[place * (len(items) - 1) // max(1, number - 1)] for place in range(number)]


def _place(record: Record, split: str) -> str:
    """``query c3``, ``c3 s12``, or nothing."""
    words = [split] if split in ("query", "gallery") else []
    words += [f"c{record.camera}"] if record.camera is not None else []
    words += [f"s{record.scene}"] if record.scene is not None else []
    return " ".join(words)


def _picture(record: Record, modalities: Sequence[str], width: int, height: int, tall: int) -> Image.Image:
    try:
        return stacked(record, modalities, width, height) if modalities else fitted(record.images[0], width, height)
    except DataError:
        field = Image.new("RGB", (width, tall), EMPTY)
        font = ImageFont.load_default(11)
        words = "\n".join(wrap("cannot be read", font, width - 2, 4))
        draw = ImageDraw.Draw(field)
        draw.multiline_text((width // 2, tall // 2), words, SOFT, font, anchor="mm", align="center")
        return field
