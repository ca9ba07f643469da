"""Looking at every image file once: whether it can be read, and a small print of what it shows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

from PIL import Image

from reidtune.data.depth import highest
from reidtune.data.image import read_header, read_image, refuse_size
from reidtune.data.record import ImageFile, Record
from reidtune.errors import DataError

PRINT_SIZE = (9, 8)  # width and height of the thumbnail whose neighbours are compared
FLAT = 8  # of 255: no channel of a flat image spans more
AT_ONCE = 512  # files between two calls of progress


@dataclass(frozen=True, slots=True)
class Print:
    """What an image shows, in little: a 64-bit difference hash (a bit for each of 8 × 8 places, set where the grey
    value rises to the right), the RGB ``thumbnail`` of 9 × 8 pixels it is made of, and whether all is one colour."""

    bits: int
    thumbnail: bytes
    flat: bool


@dataclass(slots=True)
class Look:
    """What was seen of one file, which may hold several ``images`` (crops). ``problem`` says why it cannot be read;
    the rest is then unknown. ``sizes`` (width, height) and ``prints`` are aligned with ``images``; ``prints`` is empty
    where pixels were not decoded. ``mode`` is Pillow's, before the image became RGB, and ``highest`` the highest
    value that one of 16 bits then has."""

    path: Path
    images: tuple[ImageFile, ...]
    bytes: int = 0
    problem: str | None = None
    mode: str = ""
    turned: bool = False
    animated: bool = False
    sizes: list[tuple[int, int]] = field(default_factory=list)
    prints: list[Print] = field(default_factory=list)
    highest: int | None = None


def look_at_files(
    records: Iterable[Record], decode: bool = True, progress: Callable[[int, int], None] | None = None
) -> dict[Path, Look]:
    """Look at each file of ``records`` once, in their order: the header, and with ``decode`` all pixels.

    ``progress(done, total)`` is called now and then and at the end. Nothing is raised for a file that cannot be read:
    its :attr:`Look.problem` says what is wrong. Without ``decode`` no pixel is read.
    """
    paths: dict[Path, dict[ImageFile, None]] = {}
    for record in records:
        for image in record.images:
            paths.setdefault(image.path, {})[image] = None
    todo = [tuple(images) for images in paths.values()]
    looks: dict[Path, Look] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files; what matters is said in the report
        each = pool.map if decode else map  # decoding leaves Python to other threads, reading headers does not
        for start in range(0, len(todo), AT_ONCE):
            part = todo[start : start + AT_ONCE]
            for look in each(look_at, part, repeat(decode)):
                looks[look.path] = look
            if progress is not None:
                progress(len(looks), len(todo))
    return looks


def look_at(images: tuple[ImageFile, ...], decode: bool = True) -> Look:
    """Look at the one file that holds all of ``images``; see :func:`look_at_files`."""
    path = images[0].path
    look = Look(path, images)
    try:
        look.bytes = path.stat().st_size
        header = read_header(path)
        picture = read_image(ImageFile(path)) if decode else None
        size = header.size if picture is None else picture.size
        for image in images:
            refuse_size(image, size)
    except DataError as error:
        look.problem = error.message
        return look
    except OSError:  # stat: read_header says it in words
        look.problem = _problem(path)
        return look
    look.mode, look.animated = header.mode, header.animated
    look.highest = None if picture is None else highest(header.mode, picture)
    look.turned = header.turned or size != header.size
    for image in images:
        part = picture if picture is None or image.crop is None else picture.crop(image.crop)
        left, top, right, bottom = image.crop or (0, 0, *size)
        look.sizes.append((right - left, bottom - top))
        if part is not None:
            look.prints.append(print_of(part))
    return look


def print_of(image: Image.Image) -> Print:
    """The print of an RGB image; the difference hash is that of Krawetz ("Kind of Like That", 2013)."""
    small = image.resize(PRINT_SIZE, Image.Resampling.BOX)
    grey = small.convert("L").tobytes()
    bits = 0
    for place, value in enumerate(grey):
        if place % PRINT_SIZE[0]:
            bits = bits << 1 | (value > grey[place - 1])
    flat = all(high - low <= FLAT for low, high in image.getextrema())  # type: ignore[misc]
    return Print(bits, small.tobytes(), flat)


def _problem(path: Path) -> str:
    try:
        read_header(path)
    except DataError as error:
        return error.message
    return f'"{path}" cannot be read.'
