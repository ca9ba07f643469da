"""Reading one image file as 8-bit RGB, the right way up, or saying which file is wrong and how."""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from reidtune.data.record import ImageFile
from reidtune.data.scan import show
from reidtune.errors import DataError

MAX_PIXELS = 89_478_485  # 256 MiB of RGB; Pillow's own limit for a warning
FORMATS = ("JPEG", "MPO", "PNG", "BMP", "GIF", "WEBP", "AVIF", "TIFF", "PPM", "JPEG2000")
HINT = "Replace the file or take it out of the dataset."
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations in which width and height change places


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an image file tell: its ``size`` (width, height) as :func:`read_image` gives it, Pillow's
    ``mode``, whether EXIF has it ``turned`` (or mirrored), and whether it has several frames."""

    size: tuple[int, int]
    mode: str
    turned: bool
    animated: bool


def read_image(file: ImageFile) -> Image.Image:
    """The image as Pillow mode RGB, turned as its EXIF orientation says, then cropped to ``file.crop``.

    Transparent pixels are laid on white. 16-bit values keep their upper 8 bits; floating-point grey is taken as 0–1, or
    as 0–255 where it exceeds 1. CMYK in JPEG is taken as inverted, as Adobe and libjpeg write it. Of an animation the
    first frame is read. Whatever its name, a file is read as one of :data:`FORMATS`, none of which runs a program.

    Raises ``DataError`` naming the file: missing, empty, no file but a pipe or device, no image, cut short, over
    ``MAX_PIXELS``, not of the size it must have, or smaller than its crop.
    """
    path = file.path
    try:
        _refuse_special(path)
        with _open(path) as image:
            _refuse_bomb(path, image)
            image.load()
            rgb = to_rgb(image)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise DataError(f'"{show(path)}" {_reason(path, error)}.', HINT) from error
    refuse_size(file, rgb.size)
    return rgb if file.crop is None else rgb.crop(file.crop)


def check_header(file: ImageFile, *others: ImageFile) -> None:
    """Raise ``DataError`` where the header alone tells that ``file`` cannot be read; pixels are not decoded.

    ``others`` are further images of the same file: it is opened once.
    """
    size = image_size(file.path, upright=any(one.crop or one.size for one in (file, *others)))
    for one in (file, *others):
        refuse_size(one, size)


def _open(path: Path) -> Image.Image:
    """Pillow goes by a file's content, and would hand PostScript in a file called ``x.jpg`` to Ghostscript."""
    return Image.open(path, formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    """Those that this Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def read_header(path: Path) -> Header:
    """What the header of ``path`` tells; pixels are never decoded, so that the orientation of a PNG that keeps it
    behind its pixels is not seen. Raises ``DataError`` where the file cannot be read."""
    try:
        _refuse_special(path)
        with _open(path) as image:
            _refuse_bomb(path, image)
            late = image.format == "PNG" and "exif" not in image.info  # Pillow would decode to look for it
            orientation = 1 if late else _orientation(image)
            width, height = image.size
            size = (height, width) if orientation in SIDEWAYS else (width, height)
            return Header(size, image.mode, orientation != 1, bool(getattr(image, "is_animated", False)))
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f'"{show(path)}" {_reason(path, error)}.', HINT) from error


def image_size(path: Path, upright: bool = True) -> tuple[int, int]:
    """Width and height from the header, as :func:`read_image` gives the image, or, quicker, as it is stored. Raises
    ``DataError`` where the header tells that the file cannot be read."""
    try:
        _refuse_special(path)
        with _open(path) as image:
            _refuse_bomb(path, image)
            width, height = image.size
            return (height, width) if upright and _orientation(image) in SIDEWAYS else (width, height)
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f'"{show(path)}" {_reason(path, error)}.', HINT) from error


def _orientation(image: Image.Image) -> int:
    """1–8 as EXIF counts them; 1 is upright, and what is taken where the data is broken, as in _upright."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1
    except Exception:
        return 1


def refuse_size(file: ImageFile, size: tuple[int, int]) -> None:
    """Raise ``DataError`` where ``size`` (width, height) is not the one that ``file`` must have, or its crop does not
    fit."""
    width, height = size
    if file.size is not None and size != file.size:
        raise DataError(
            f'"{show(file.path)}" has {width:,} × {height:,} pixels instead of {file.size[0]:,} × {file.size[1]:,}, in '
            "which the images of a sample lie side by side.",
            HINT,
        )
    if file.crop is not None:
        left, top, right, bottom = file.crop
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise DataError(
                f'The crop {file.crop} is not within "{show(file.path)}" of {width} × {height} pixels.', HINT
            )


def _refuse_special(path: Path) -> None:
    """Pipes and devices may never end; a folder and a missing file are told by :func:`_reason`."""
    kind = path.stat().st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise DataError(f'"{show(path)}" is no file but a pipe, a socket or a device.', HINT)


def _refuse_bomb(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f'"{show(path)}" has {width:,} × {height:,} pixels, more than the {MAX_PIXELS:,} that are read.',
            "Scale the image down.",
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF data says nothing about the orientation
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as :func:`read_image` gives it: upright, Pillow mode RGB."""
    image = _upright(image)
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I;16") or mode in ("I", "F"):  # Pillow's own conversion would clip at 255
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    if np.issubdtype(values.dtype, np.integer):
        if values.dtype.itemsize == 2 or values.max(initial=0) > 255:  # 32-bit modes also carry 8-bit values
            values = values.clip(0, 65535) >> 8
        return values.clip(0, 255).astype(np.uint8)
    values = np.nan_to_num(values, nan=0.0)
    scale = 255.0 if values.max(initial=0) <= 1 else 1.0
    return (values * scale).round().clip(0, 255).astype(np.uint8)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "is a link that leads in a circle"
    if isinstance(error, PermissionError):
        return "may not be read (no permission)"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"has more than the {MAX_PIXELS:,} pixels that are read"
    if path.is_dir():
        return "is a folder, not an image"
    if path.is_file() and path.stat().st_size == 0:
        return "is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return "is not an image, or of a format that Pillow does not read"
    return f"is damaged ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
