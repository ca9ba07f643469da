"""Looking at every file before anything long begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from reidtune.data.image import check_header
from reidtune.data.record import ImageFile, Record
from reidtune.errors import DataError

EXAMPLES = 5
EVERY = 256  # files between two calls of progress


def check_files(records: Iterable[Record], progress: Callable[[int, int], None] | None = None) -> None:
    """Read the header of every image file once, pixels are not decoded; ``progress(done, total)`` is called now and
    then and at the end.

    Raises one ``DataError`` that gives the number of files that are missing, empty, no images, too large or not of the
    size that their crops need, and names the first five.
    """
    paths: dict[Path, dict[ImageFile, None]] = {}
    for record in records:
        for image in record.images:
            paths.setdefault(image.path, {})[image] = None
    wrong: list[str] = []
    number = 0
    for done, images in enumerate(paths.values(), 1):
        try:
            check_header(*images)
        except DataError as error:
            number += 1
            if len(wrong) < EXAMPLES:
                wrong.append(error.message)
        if progress is not None and (done % EVERY == 0 or done == len(paths)):
            progress(done, len(paths))
    if wrong:
        more = [f"… and {number - len(wrong):,} more."] if number > len(wrong) else []
        files = "1 image file" if number == 1 else f"{number:,} image files"
        raise DataError(
            "\n  ".join([f"{files} of {len(paths):,} cannot be read:", *wrong, *more]),
            "Replace the files or take them out of the dataset.",
        )
