"""What a search found, for people: a table and a picture sheet. The page is in :mod:`reidtune.report.html`."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont, ImageOps

from reidtune.data.image import read_image
from reidtune.data.record import ImageFile
from reidtune.data.scan import show
from reidtune.errors import DataError, SettingsError
from reidtune.report.pictures import QUERY
from reidtune.report.tables import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reidtune.retrieval.search import SearchResult

PAGE_SUFFIXES = (".html", ".htm")
COLUMNS = 5
_GAP, _FRAME, _LINE = 12, 4, 18
_GREY = (232, 232, 232)


def match_table(result: SearchResult) -> RenderableType:
    """Rank, score and path (relative to the folder) of each match."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("rank", "score"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    table.add_column("path", overflow="fold", min_width=12)
    for match in result.matches:
        table.add_row(str(match.rank), f"{match.score:.3f}", Text(visible(match.name)))
    below = f"{heading_of(result)} in {show(result.index.folder)}. {model_of(result)}. Scores are cosines."
    return Group(table, "", Text(visible(below), overflow="fold"))


def heading_of(result: SearchResult) -> str:
    """``Best 10 of 510 images for “a red coat” (weight 0.5) and person.jpg (weight 0.5)``."""
    parts = []
    if result.text is not None:
        parts.append(f"“{result.text}”")
    if result.image is not None:
        parts.append(show(result.image.name))
    if len(parts) == 2:
        weights = (result.weight, round(1 - result.weight, 6))
        parts = [f"{part} (weight {weight:g})" for part, weight in zip(parts, weights, strict=True)]
    return f"{counts_of(result)} for {' and '.join(parts)}"


def counts_of(result: SearchResult) -> str:
    """``Best 10 of 510 images``."""
    total = len(result.index.names)
    return f"Best {len(result.matches):,} of {'1 image' if total == 1 else f'{total:,} images'}"


def model_of(result: SearchResult) -> str:
    """What ranked: ``lora (runs/market/delta.safetensors) on ViT-B-16 openai``."""
    backbone, delta = result.model["backbone"], result.model["delta"]
    name = f"{backbone['name']} {Path(backbone['pretrained']).name}"
    return f"Backbone: {name}" if delta is None else f"Delta: {delta['method']} ({delta['path']}) on {name}"


def match_sheet(result: SearchResult, height: int = 192) -> Image.Image:
    """The query on top (its image framed blue), below it the matches in rows of five, each above its rank, score and
    name. ``height`` is that of an image in pixels; images keep their shape."""
    pictures = [open_file(match.path) for match in result.matches]
    query = None if result.image is None else open_file(result.image)
    shapes = sorted(picture.width / picture.height for picture in pictures if picture is not None) or [0.5]
    width = round(height * min(2.0, max(0.5, shapes[len(shapes) // 2])))
    columns, rows = min(COLUMNS, max(3, len(pictures))), math.ceil(len(pictures) / COLUMNS)
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    total = columns * (width + _GAP) + _GAP
    title = _wrapped(visible(heading_of(result)), font, total - 2 * _GAP)
    head = _GAP + _LINE * len(title) + (_GAP + height // 2 + 2 * _FRAME if query is not None else 0) + _GAP
    sheet = Image.new("RGB", (total, head + rows * (height + 3 * _LINE + _GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(title):
        draw.text((_GAP, _GAP + number * _LINE), line, fill="black", font=font)
    if query is not None:
        small_query = ImageOps.contain(query, (total // 2, height // 2))
        framed = ImageOps.expand(small_query, _FRAME, fill=QUERY)
        sheet.paste(framed, (_GAP, 2 * _GAP + _LINE * len(title)))
    for place, (match, picture) in enumerate(zip(result.matches, pictures, strict=True)):
        left = _GAP + place % COLUMNS * (width + _GAP)
        top = head + place // COLUMNS * (height + 3 * _LINE + _GAP)
        draw.rectangle((left, top, left + width - 1, top + height - 1), fill=_GREY)
        if picture is None:
            draw.text((left + 4, top + height // 2), "cannot be read", fill="black", font=small)
        else:
            fitted = ImageOps.contain(picture, (width, height), Image.Resampling.BICUBIC)
            sheet.paste(fitted, (left + (width - fitted.width) // 2, top + (height - fitted.height) // 2))
        draw.text((left, top + height + 2), f"{match.rank}   {match.score:.3f}", fill="black", font=small)
        for number, line in enumerate(_two_lines(visible(match.name), small, width)):
            draw.text((left, top + height + (number + 1) * _LINE - 2), line, fill=(90, 90, 90), font=small)
    return sheet


def check_target(path: Path, force: bool) -> None:
    """Raise :class:`SettingsError` where a sheet or page of that name cannot be written, or would replace a file
    unasked."""
    hint = "Use a .png or .html file."
    if path.is_dir():
        raise SettingsError(f"--sheet {path} is a folder.", hint)
    suffix = path.suffix.lower()
    if suffix not in PAGE_SUFFIXES and Image.registered_extensions().get(suffix) not in Image.SAVE:
        raise SettingsError(f"--sheet {path}: {path.suffix or 'no ending'} is no kind of picture or page.", hint)
    if path.exists() and not force:
        raise SettingsError(f"--sheet {path} exists.", "Choose another file, or replace it with --force.")


def open_file(path: Path) -> Image.Image | None:
    """The image, or ``None`` where it has gone since it was embedded."""
    try:
        return read_image(ImageFile(path))
    except DataError:
        return None


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    letters = max(8, int(width / max(1.0, font.getlength("n"))))
    return textwrap.wrap(text, letters) or [""]


def _two_lines(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """``name`` in at most two lines, parted after a folder where that fits; of a longer one its end, in which the
    file's own name stands."""
    if font.getlength(name) <= width:
        return [name]
    folder, slash, last = name.rpartition("/")
    rest = folder + slash
    if not rest or font.getlength(last) > width:
        last = _fitting(name, font, width)
        rest = name[: len(name) - len(last)]
    first = _fitting(rest, font, width)
    return [first if first == rest else f"…{first[2:]}", last]


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The longest end of ``text`` that is at most ``width`` pixels long."""
    while font.getlength(text) > width:
        text = text[1:]
    return text
