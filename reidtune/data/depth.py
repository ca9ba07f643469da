"""16-bit images that use the lower bits alone, as cameras of 12 or 14 bits write them: of 16 bits the upper 8 are kept,
so that 0-4095 becomes 0-15, nearly black.

No image is stretched: the same scene would be brighter or darker from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PIL import Image

from reidtune.data.image import read_header, read_image
from reidtune.data.record import ImageFile, Record
from reidtune.errors import DataError

SIXTEEN = "I;16"  # begins Pillow's modes of 16 bits
DARK = 63  # of 255: what 14 bits reach
LOOKED_AT = 16  # samples, before a training


def highest(mode: str, rgb: Image.Image) -> int | None:
    """The highest value of an image that was of this ``mode`` and became ``rgb``; ``None``: not of 16 bits."""
    if not mode.startswith(SIXTEEN):
        return None
    return max(int(high) for _, high in rgb.getextrema())  # type: ignore[misc]


def dark_sentence(levels: Iterable[int | None]) -> str:
    """A sentence where most 16-bit images (see :func:`highest`) are dark; a few may be so in truth."""
    found = [level for level in levels if level is not None]
    dark = [level for level in found if level <= DARK]
    if 2 * len(dark) <= len(found):
        return ""
    return (
        f"{len(dark):,} of {len(found):,} 16-bit images looked at use only levels up to {max(dark)} of 255, since of "
        "16 bits the upper 8 are kept"
    )


def look_at_some(records: Sequence[Record]) -> str:
    """The same of some images, evenly from ``records``: a quick look before a training."""
    levels = []
    for record in records[:: max(1, len(records) // LOOKED_AT)][:LOOKED_AT]:
        for image in record.images:
            try:
                if (mode := read_header(image.path).mode).startswith(SIXTEEN):
                    levels.append(highest(mode, read_image(ImageFile(image.path))))
            except DataError:
                continue  # said where it is needed
    return dark_sentence(levels)
