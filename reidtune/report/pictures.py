"""Pictures of ranked lists, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from reidtune.data.image import read_image
from reidtune.data.record import Record
from reidtune.errors import ReidtuneError

RIGHT, WRONG, QUERY = (32, 140, 70), (200, 45, 45), (40, 90, 170)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_GAP, _FRAME, _LABEL, _LINE = 6, 4, 18, 16
_CAPTION_SHAPE = 1.8  # width over height of the field of a caption


@dataclass(frozen=True)
class RankedRow:
    """One query, its best gallery records in order, and what is written above them. With a ``caption`` that is the
    query, and the record's image is not shown."""

    query: Record
    results: Sequence[Record]
    label: str
    caption: str | None = None


def ranked_sheet(rows: Sequence[RankedRow], height: int = 128) -> Image.Image:
    """A row a query: the query (blue frame; an image, or a caption on a wider field), then its results, framed green
    where the identity is the query's and red where it is not. ``height`` is that of an image in pixels; widths follow
    the images' own shapes."""
    width = max(24, round(height * _shape(rows)))
    first = width if all(row.caption is None for row in rows) else max(width, round(height * _CAPTION_SHAPE))
    cell = (width + 2 * _FRAME + _GAP, height + 2 * _FRAME + _GAP + _LABEL)
    start = 2 * _GAP + first + 2 * _FRAME + _GAP  # where the results begin
    columns = max(len(row.results) for row in rows)
    sheet = Image.new("RGB", (start + columns * cell[0], len(rows) * cell[1] + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)

    def place(left: int, top: int, picture: Image.Image, colour: tuple[int, int, int]) -> None:
        box = (left, top, left + picture.width + 2 * _FRAME - 1, top + height + 2 * _FRAME - 1)
        draw.rectangle(box, fill=colour)
        sheet.paste(picture, (left + _FRAME, top + _FRAME))

    for number, row in enumerate(rows):
        top = _GAP + number * cell[1]
        draw.text((_GAP, top), row.label, fill="black", font=font)
        top += _LABEL
        query = _image(row.query, width, height) if row.caption is None else _note(row.caption, first, height)
        place(_GAP, top, query, QUERY)
        for column, record in enumerate(row.results):
            colour = RIGHT if record.identity == row.query.identity else WRONG
            place(start + column * cell[0], top, _image(record, width, height), colour)
    return sheet


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture; the file's ending decides the format.

    Raises:
        ReidtuneError: it cannot be written, or the ending is unknown.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReidtuneError(f"The picture {path} could not be written: {reason}.", "Use a .png file.") from error


def wrap(text: str, font: Font, width: int, lines: int) -> list[str]:
    """At most ``lines`` lines no wider than ``width`` pixels; a text that does not fit ends in an ellipsis. A word that
    is too long for a line is broken."""
    found: list[str] = []
    rest = " ".join(text.split())
    while rest:
        end = _reach(rest, font, width)
        space = rest.rfind(" ", 0, end + 1)
        if end < len(rest) and space > 0:
            end = space
        line, rest = rest[:end], rest[end:].lstrip()
        if rest and len(found) == lines - 1:
            while line and font.getlength(f"{line}…") > width:
                line = line[:-1]
            return [*found, f"{line.rstrip(' ,.;')}…"]
        found.append(line)
    return found


def _reach(text: str, font: Font, width: int) -> int:
    """How many letters of ``text`` fit on a line; at least one."""
    end = 1
    while end < len(text) and font.getlength(text[: end + 1]) <= width:
        end += 1
    return end


def _note(caption: str, width: int, height: int) -> Image.Image:
    """A caption on a white field."""
    field = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(field), ImageFont.load_default(13)
    lines = wrap(caption, font, width - 2 * _GAP, max(1, (height - _GAP) // _LINE))
    for number, line in enumerate(lines):
        draw.text((_GAP, _GAP // 2 + number * _LINE), line, fill="black", font=font)
    return field


def _image(record: Record, width: int, height: int) -> Image.Image:
    return read_image(record.images[0]).resize((width, height), Image.Resampling.BICUBIC)


def _shape(rows: Sequence[RankedRow]) -> float:
    """Width over height of the first image shown, within reason."""
    row = rows[0]
    picture = read_image((row.query if row.caption is None else row.results[0]).images[0])
    return min(2.0, max(0.35, picture.width / picture.height))
