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
_GAP, _FRAME, _LABEL = 6, 4, 18


@dataclass(frozen=True)
class RankedRow:
    """One query, its best gallery records in order, and what is written above them."""

    query: Record
    results: Sequence[Record]
    label: str


def ranked_sheet(rows: Sequence[RankedRow], height: int = 128) -> Image.Image:
    """A row a query: the query (blue frame), then its results, framed green where the identity is the query's and red
    where it is not. ``height`` is that of an image in pixels; widths follow the images' own shapes."""
    width = max(24, round(height * _shape(rows)))
    columns = 1 + max(len(row.results) for row in rows)
    cell = (width + 2 * _FRAME + _GAP, height + 2 * _FRAME + _GAP + _LABEL)
    sheet = Image.new("RGB", (columns * cell[0] + 2 * _GAP, len(rows) * cell[1] + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, row in enumerate(rows):
        top = _GAP + number * cell[1]
        draw.text((_GAP, top), row.label, fill="black", font=font)
        for place, record in enumerate((row.query, *row.results)):
            colour = QUERY if place == 0 else RIGHT if record.identity == row.query.identity else WRONG
            left = _GAP + place * cell[0] + (_GAP if place else 0)
            box = (left, top + _LABEL, left + width + 2 * _FRAME - 1, top + _LABEL + height + 2 * _FRAME - 1)
            draw.rectangle(box, fill=colour)
            picture = read_image(record.images[0]).resize((width, height), Image.Resampling.BICUBIC)
            sheet.paste(picture, (left + _FRAME, top + _LABEL + _FRAME))
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


def _shape(rows: Sequence[RankedRow]) -> float:
    """Width over height of the first query, within reason."""
    picture = read_image(rows[0].query.images[0])
    return min(2.0, max(0.35, picture.width / picture.height))
