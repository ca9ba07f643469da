"""Pictures of ranked lists, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw, ImageFont

from reidtune.data.image import read_image
from reidtune.data.record import ImageFile, Record
from reidtune.errors import DataError, ReidtuneError
from reidtune.files import whole_file

RIGHT, WRONG, QUERY = (32, 140, 70), (200, 45, 45), (40, 90, 170)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_GAP, _FRAME, _LABEL, _LINE = 6, 4, 18, 16
_CAPTION_SHAPE = 1.8  # width over height of the field of a caption
_HEIGHT, _SEVERAL_HEIGHT, SEAM = 128, 96, 2  # of an image, of one of several, and between two of a sample
EMPTY, SOFT = (238, 238, 238), (90, 90, 90)


@dataclass(frozen=True)
class RankedRow:
    """One query, its best gallery records in order, and what is written above them. With a ``caption`` that is the
    query, and the record's image is not shown."""

    query: Record
    results: Sequence[Record]
    label: str
    caption: str | None = None


def ranked_sheet(rows: Sequence[RankedRow], height: int | None = None, modalities: Sequence[str] = ()) -> Image.Image:
    """A row a query: the query (blue frame; an image, or a caption on a wider field), then its results, framed green
    where the identity is the query's and red where it is not. Of samples of several ``modalities`` the images stand
    below each other in one frame, named on the left; one that is missing is an empty field. ``height`` is that of an
    image in pixels (default 128, or 96 of several); widths follow the images' own shapes."""
    several = modalities if len(modalities) > 1 else ()
    height = height or (_SEVERAL_HEIGHT if several else _HEIGHT)
    width = max(24, round(height * _shape(rows)))
    first = width if all(row.caption is None for row in rows) else max(width, round(height * _CAPTION_SHAPE))
    tall = height * max(1, len(several)) + SEAM * max(0, len(several) - 1)
    cell = (width + 2 * _FRAME + _GAP, tall + 2 * _FRAME + _GAP + _LABEL)
    font, small = ImageFont.load_default(13), ImageFont.load_default(11)
    margin = _GAP + max((round(small.getlength(name)) + _GAP for name in several), default=0)
    start = margin + first + 2 * _FRAME + 2 * _GAP  # where the results begin
    columns = max(len(row.results) for row in rows)
    sheet = Image.new("RGB", (start + columns * cell[0], len(rows) * cell[1] + _GAP), "white")
    draw = ImageDraw.Draw(sheet)

    def place(left: int, top: int, picture: Image.Image, colour: tuple[int, int, int]) -> None:
        box = (left, top, left + picture.width + 2 * _FRAME - 1, top + tall + 2 * _FRAME - 1)
        draw.rectangle(box, fill=colour)
        sheet.paste(picture, (left + _FRAME, top + _FRAME))

    def picture(record: Record) -> Image.Image:
        return stacked(record, several, width, height) if several else fitted(record.images[0], width, height)

    for number, row in enumerate(rows):
        top = _GAP + number * cell[1]
        draw.text((margin, top), row.label, fill="black", font=font)
        top += _LABEL
        for line, name in enumerate(several):
            middle = top + _FRAME + line * (height + SEAM) + height // 2
            draw.text((margin - _GAP, middle), name, fill=SOFT, font=small, anchor="rm")
        asked = picture(row.query) if row.caption is None else caption_field(row.caption, first, height)
        place(margin, top, asked, QUERY)
        for column, record in enumerate(row.results):
            colour = RIGHT if record.identity == row.query.identity else WRONG
            place(start + column * cell[0], top, picture(record), colour)
    return sheet


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture; the file's ending decides the format. It appears under its name only when it is complete.

    Raises:
        ReidtuneError: it cannot be written, or the ending is unknown.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    try:
        if kind is None:
            raise ValueError(f"unknown file extension: {path.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            picture.save(file, kind)
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


def caption_field(caption: str, width: int, height: int) -> Image.Image:
    """A caption on a white field."""
    field = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(field), ImageFont.load_default(13)
    lines = wrap(caption, font, width - 2 * _GAP, max(1, (height - _GAP) // _LINE))
    for number, line in enumerate(lines):
        draw.text((_GAP, _GAP // 2 + number * _LINE), line, fill="black", font=font)
    return field


def stacked(record: Record, modalities: Sequence[str], width: int, height: int) -> Image.Image:
    """The images of a sample below each other; an empty field for one that is missing."""
    field = Image.new("RGB", (width, len(modalities) * (height + SEAM) - SEAM), "white")
    draw, font = ImageDraw.Draw(field), ImageFont.load_default(11)
    images = dict(zip(record.modalities, record.images, strict=True))
    for line, name in enumerate(modalities):
        top = line * (height + SEAM)
        if name in images:
            field.paste(fitted(images[name], width, height), (0, top))
        else:
            draw.rectangle((0, top, width - 1, top + height - 1), fill=EMPTY)
            words = "\n".join(["no", *wrap(name, font, width - 2, 4)])
            draw.multiline_text((width // 2, top + height // 2), words, SOFT, font, anchor="mm", align="center")
    return field


def fitted(file: ImageFile, width: int, height: int) -> Image.Image:
    return read_image(file).resize((width, height), Image.Resampling.BICUBIC)


def _shape(rows: Sequence[RankedRow]) -> float:
    """Width over height of the first image shown, within reason."""
    row = rows[0]
    return _within(read_image((row.query if row.caption is None else row.results[0]).images[0]))


def shape_of(rows: Sequence[Sequence[Record]]) -> float:
    """The median width over height of the first images of ``rows``, within reason; files that cannot be read are left
    out."""
    shapes = []
    for records in rows:
        for record in records[:1]:
            with suppress(DataError):
                shapes.append(_within(read_image(record.images[0])))
    return median(shapes) if shapes else 0.5


def _within(picture: Image.Image) -> float:
    return min(2.0, max(0.35, picture.width / picture.height))
