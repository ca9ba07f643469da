"""What a search found, for people: a table and a picture sheet. The page is in :mod:`reidtune.report.html`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
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
_GAP, _FRAME, _LINE, _SEAM = 12, 4, 18, 2
_GREY = (232, 232, 232)


def match_table(result: SearchResult) -> RenderableType:
    """Rank, score and path (relative to the folder) of each match; of samples their name and the modalities that they
    have."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("rank", "score"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    table.add_column("sample" if result.modalities else "path", overflow="fold", min_width=12)
    if result.modalities:
        table.add_column("modalities")
    for match in result.matches:
        there = [Text(visible(", ".join(match.paths)))] if result.modalities else []
        table.add_row(str(match.rank), f"{match.score:.3f}", Text(visible(match.name)), *there)
    below = f"{heading_of(result)} in {show(result.index.folder)}. {model_of(result)}. Scores are cosines."
    return Group(table, "", Text(visible(below), overflow="fold"))


def heading_of(result: SearchResult) -> str:
    """``Best 10 of 510 images for “a red coat” (weight 0.5) and person.jpg (weight 0.5)``; of a sample's images ``rgb,
    nir of 7.jpg``."""
    parts = []
    if result.text is not None:
        parts.append(f"“{result.text}”")
    if result.modalities and result.images:
        names: dict[str, list[str]] = {}
        for modality, path in result.images.items():
            names.setdefault(show(path.name), []).append(modality)
        parts.append(", ".join(f"{', '.join(there)} of {name}" for name, there in names.items()))
    elif result.image is not None:
        parts.append(show(result.image.name))
    if len(parts) == 2:
        weights = (result.weight, round(1 - result.weight, 6))
        parts = [f"{part} (weight {weight:g})" for part, weight in zip(parts, weights, strict=True)]
    return f"{counts_of(result)} for {' and '.join(parts)}"


def counts_of(result: SearchResult) -> str:
    """``Best 10 of 510 images``, or samples."""
    total, noun = len(result.index.names), "sample" if result.modalities else "image"
    return f"Best {len(result.matches):,} of {f'1 {noun}' if total == 1 else f'{total:,} {noun}s'}"


def model_of(result: SearchResult) -> str:
    """What ranked: ``lora (runs/market/delta.safetensors) on ViT-B-16 openai``."""
    backbone, delta = result.model["backbone"], result.model["delta"]
    name = f"{backbone['name']} {Path(backbone['pretrained']).name}"
    return f"Backbone: {name}" if delta is None else f"Delta: {delta['method']} ({delta['path']}) on {name}"


def match_sheet(result: SearchResult, height: int = 192) -> Image.Image:
    """The query on top (its image framed blue), below it the matches in rows of five, each above its rank, score and
    name. ``height`` is that of an image in pixels; images keep their shape. The images of a sample stand side by side,
    wide ones (of vehicles) below each other and half as high; a grey field says which one is missing."""
    shown = [pictures_of(match.path, match.paths, result.modalities) for match in result.matches]
    stacked = are_wide(shown)
    slot = _slot(shown, height // 2 if stacked else height)
    cells = [_cell(pictures, slot, result.modalities, stacked) for pictures in shown]
    width, tall = _size(len(result.modalities), slot, stacked)
    query = [] if result.image is None else pictures_of(result.image, result.images, result.modalities)
    columns = min(COLUMNS, max(3, len(cells)))
    rows = math.ceil(len(cells) / columns)
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    total = columns * (width + _GAP) + _GAP
    title = _wrapped(visible(heading_of(result)), font, total - 2 * _GAP)
    if result.modalities:
        title += _wrapped(visible(f"Of each, in this order: {', '.join(result.modalities)}"), font, total - 2 * _GAP)
    framed = _query(query, result.modalities, height // 2, total - 2 * _GAP)
    head = _GAP + _LINE * len(title) + (_GAP + framed.height if framed is not None else 0) + _GAP
    sheet = Image.new("RGB", (total, head + rows * (tall + 3 * _LINE + _GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(title):
        draw.text((_GAP, _GAP + number * _LINE), line, fill="black", font=font)
    if framed is not None:
        sheet.paste(framed, (_GAP, 2 * _GAP + _LINE * len(title)))
    for place, (match, cell) in enumerate(zip(result.matches, cells, strict=True)):
        left = _GAP + place % columns * (width + _GAP)
        top = head + place // columns * (tall + 3 * _LINE + _GAP)
        sheet.paste(cell, (left, top))
        draw.text((left, top + tall + 2), f"{match.rank}   {match.score:.3f}", fill="black", font=small)
        for number, line in enumerate(_two_lines(visible(match.name), small, width)):
            draw.text((left, top + tall + (number + 1) * _LINE - 2), line, fill=(90, 90, 90), font=small)
    return sheet


def pictures_of(path: Path, paths: Mapping[str, Path], modalities: Sequence[str]) -> list[Image.Image | str]:
    """The image ``path``, or those of a sample in the order of ``modalities``; in the place of one that is missing or
    has gone, what is to be said of it."""
    if not modalities:
        return [open_file(path) or "cannot be read"]
    return [(open_file(paths[name]) or "cannot be read") if name in paths else f"no {name}" for name in modalities]


def are_wide(shown: Sequence[Sequence[Image.Image | str]]) -> bool:
    """Whether samples of several images are rather seen below each other than side by side."""
    shapes = _shapes(shown)
    return len(shown) > 0 and len(shown[0]) > 1 and shapes[len(shapes) // 2] > 1.2


def _shapes(shown: Sequence[Sequence[Image.Image | str]]) -> list[float]:
    """Width over height of the images, ascending."""
    pictures = [picture for row in shown for picture in row if isinstance(picture, Image.Image)]
    return sorted(picture.width / picture.height for picture in pictures) or [0.5]


def _slot(shown: Sequence[Sequence[Image.Image | str]], height: int) -> tuple[int, int]:
    """Width and height of the field of one image."""
    shapes = _shapes(shown)
    return round(height * min(2.0, max(0.5, shapes[len(shapes) // 2]))), height


def _size(modalities: int, slot: tuple[int, int], stacked: bool) -> tuple[int, int]:
    """Width and height of the field of a match."""
    across, down = (1, max(1, modalities)) if stacked else (max(1, modalities), 1)
    return across * (slot[0] + _SEAM) - _SEAM, down * (slot[1] + _SEAM) - _SEAM


def _cell(
    pictures: Sequence[Image.Image | str], slot: tuple[int, int], modalities: Sequence[str], stacked: bool
) -> Image.Image:
    """The field of a match, a slot an image."""
    cell = Image.new("RGB", _size(len(modalities), slot, stacked), "white")
    draw, small = ImageDraw.Draw(cell), ImageFont.load_default(12)
    for place, picture in enumerate(pictures):
        left, top = (0, place * (slot[1] + _SEAM)) if stacked else (place * (slot[0] + _SEAM), 0)
        draw.rectangle((left, top, left + slot[0] - 1, top + slot[1] - 1), fill=_GREY)
        if isinstance(picture, str):
            draw.text((left + 4, top + slot[1] // 2), visible(picture), fill="black", font=small)
        else:
            fitted = ImageOps.contain(picture, slot, Image.Resampling.BICUBIC)
            cell.paste(fitted, (left + (slot[0] - fitted.width) // 2, top + (slot[1] - fitted.height) // 2))
    return cell


def _query(
    pictures: Sequence[Image.Image | str], modalities: Sequence[str], height: int, width: int
) -> Image.Image | None:
    """The query's images in a blue frame, at most ``height`` and, with it, ``width``; ``None`` where there are none."""
    if not modalities:
        if not pictures or isinstance(pictures[0], str):
            return None
        small = ImageOps.contain(pictures[0], (width // 2, height))
    elif pictures:
        cell = _cell(pictures, _slot([pictures], height), modalities, stacked=False)
        small = cell if cell.width <= width - 2 * _FRAME else ImageOps.contain(cell, (width - 2 * _FRAME, height))
    else:
        return None
    return ImageOps.expand(small, _FRAME, fill=QUERY)


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
