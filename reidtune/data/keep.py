"""Whether squashed images are kept between epochs: decided once, and told."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from reidtune.backbone.preprocess import Preprocess
from reidtune.data import kept_pixels
from reidtune.data.image import read_image
from reidtune.data.kept_pixels import KeptPixels, file_key
from reidtune.data.record import ImageFile, Record
from reidtune.data.transforms import squash
from reidtune.errors import ReidtuneError

LEFT_FREE = 2 * 10**9  # bytes of the disk that stay free for everything else
_WORTH = 2.0  # times as long to decode an image as to read its pixels
_MEASURED = 4  # images


def keep_pixels(
    records: Iterable[Record],
    preprocess: Preprocess,
    mode: str,
    again: bool,
    say: Callable[[str], None] = lambda sentence: None,
) -> KeptPixels | None:
    """Where the squashed images of ``records`` are kept, or ``None``. ``say`` is told which, and how many bytes.

    ``mode`` is ``none``, ``disk`` (wherever there is room) or ``auto``: where the images are read ``again`` and again,
    decoding some of them takes twice as long as reading their pixels, and all take at most
    :data:`reidtune.data.kept_pixels.MOST_BYTES`.
    """
    if mode == "none" or (mode == "auto" and not again):
        return None
    files = list(dict.fromkeys(image for record in records for image in record.images))
    kept = KeptPixels(files, preprocess)
    folder, size = kept.path.parent, _size(kept.bytes)
    if mode == "auto" and kept.bytes > kept_pixels.MOST_BYTES:
        say(
            f"Images are decoded in every epoch: squashed they take {size}, and more than "
            f"{_size(kept_pixels.MOST_BYTES)} is kept only with --set training.image_cache=disk."
        )
        return None
    try:
        kept.create()
        free = shutil.disk_usage(folder).free
        if free < kept.bytes - kept.used() + LEFT_FREE:
            kept.remove()
            say(f"Images are decoded in every epoch: squashed they take {size}, and {folder} has {_size(free)} free.")
            return None
        if mode == "auto" and not _is_worth_it(kept, files):
            return None
    except OSError as error:
        reason = error.strerror or error
        say(f"Images are decoded in every epoch: squashed they cannot be kept in {_existing(folder)}: {reason}.")
        return None
    say(
        f"Images are decoded once: squashed to {preprocess.height}×{preprocess.width} they are kept in {folder}, up to "
        f"{size}. To keep none: --set training.image_cache=none."
    )
    return kept


def _is_worth_it(kept: KeptPixels, files: list[ImageFile]) -> bool:
    """Decode some images, keep them, read them back."""
    decoding = reading = 0.0
    for file in files[:: max(1, len(files) // _MEASURED)][:_MEASURED]:
        key, row = file_key(file), kept.row(file, kept.preprocess)
        if key is None or row is None:
            continue
        begun = time.perf_counter()
        try:
            pixels = squash(read_image(file), kept.preprocess)
        except ReidtuneError:  # said when it is wanted
            continue
        decoded = time.perf_counter()
        kept.shelf.put(row, key, pixels)
        written = time.perf_counter()
        kept.shelf.take(row, key)
        decoding, reading = decoding + decoded - begun, reading + time.perf_counter() - written
    return decoding >= _WORTH * reading


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{max(1, round(count / 1e6))} MB"
