"""Lists of images in text files, one a line with its identity: ``0000/0000_000_01_0303morning_0008_0.jpg 0``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reidtune.data.layouts.describe import named
from reidtune.data.scan import Skipped, images_below, show
from reidtune.errors import DataError


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a list: its number, the image as it is called there, and its identity, 0 or more."""

    line: int
    name: str
    identity: int


def read_list(file: Path) -> list[Listed]:
    """The lines of ``file``; blank ones are passed over.

    Raises ``DataError`` naming the line that is no name with a whole number behind it, or an empty list.
    """
    rows = []
    text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
    for number, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        words = content.rsplit(None, 1)
        if len(words) < 2 or not (words[1].isascii() and words[1].isdecimal()):
            raise bad_line(file, number, f'"{show(content.strip()[:80])}" is no image and its identity, a whole number')
        rows.append(Listed(number, words[0].strip(), int(words[1])))
    if not rows:
        raise DataError(f'The list "{show(file)}" is empty.', "Check that the archive was unpacked completely.")
    return rows


def bad_line(file: Path, line: int, what: str) -> DataError:
    return DataError(f'"{show(file)}", line {line}: {what}.', "Correct the line, or take the list as it was published.")


class Files:
    """The images below ``folder``, to be found by what a list calls them: with or without their suffix.

    One listing of the folder instead of a look at each file; what it left out is added to ``skipped``.
    """

    def __init__(self, folder: Path, skipped: Skipped) -> None:
        self.folder = folder
        start = len(str(folder)) + 1
        below = images_below(folder, skipped) if folder.is_dir() else []
        self.whole = {str(file)[start:].replace(os.sep, "/"): file for file in below}
        self.stems = {name.rpartition(".")[0]: file for name, file in self.whole.items()}

    def find(self, list_file: Path, rows: Sequence[Listed], suffix: str = "") -> tuple[list[Path], list[str]]:
        """The file of every row, and a sentence where some do not exist, which stay: whoever reads them says it again.

        Raises ``DataError`` where none exists. ``suffix`` is added to what is missing and has none.
        """
        found, missing = [], []
        for row in rows:
            file = self.whole.get(row.name) or self.stems.get(row.name)
            if file is None:
                file = Path(f"{self.folder}/{row.name}{'' if '.' in row.name else suffix}")
                missing.append(row.name)
            found.append(file)
        if len(missing) == len(rows):
            raise DataError(
                f'None of the {len(rows):,} images of "{show(list_file.name)}" is in "{show(self.folder)}", such as '
                f"{show(rows[0].name)}.",
                "Check that the archive was unpacked completely, and that list and folder belong together.",
            )
        return found, named(f"Careful: images of {list_file.name} that do not exist", missing)
