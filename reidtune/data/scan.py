"""Listing image files: fast (one directory read, no look at each file), sorted, with a count of what was left out."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".jp2"}
)
OWN_FOLDER = ".reidtune"  # the index of a search; no news to anyone


@dataclass
class Skipped:
    """What a listing left out: ``hidden`` names (a leading dot) and ``other`` files that are no images."""

    hidden: int = 0
    other: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        if is_hidden(name):
            self.hidden += 1
        else:
            self.other += 1
        if len(self.examples) < 3:
            self.examples.append(show(name))

    def notes(self) -> list[str]:
        """One sentence, or none when nothing was left out."""
        total = self.hidden + self.other
        if not total:
            return []
        files = "1 file is skipped" if total == 1 else f"{total:,} files are skipped"
        more = ", …" if total > len(self.examples) else ""
        return [f"{files} (hidden or no image: {', '.join(self.examples)}{more})."]


def show(path: str | os.PathLike[str]) -> str:
    """``path`` as text that can be printed, also where a file name holds undecodable bytes or line breaks."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def is_hidden(name: str) -> bool:
    """A leading dot, or the folder of resource forks that macOS puts into archives."""
    return name.startswith(".") or name == "__MACOSX"


def is_image_name(name: str) -> bool:
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES  # 100,000 times: no Path objects


def subfolders(folder: Path) -> list[Path]:
    """The folders directly inside ``folder``, by name, hidden ones left out; linked folders count."""
    with os.scandir(folder) as entries:
        return [folder / n for n in sorted(e.name for e in entries if not is_hidden(e.name) and _is_folder(e))]


def some_subfolders(folder: Path, looked_at: int = 100) -> list[Path]:
    """As :func:`subfolders`, of the first entries only: quick also where ``folder`` holds a million files."""
    with os.scandir(folder) as entries:
        return [folder / e.name for e in islice(entries, looked_at) if not is_hidden(e.name) and _is_folder(e)]


def images_in(folder: Path, skipped: Skipped | None = None) -> list[Path]:
    """The image files directly inside ``folder``, by name; nothing below it is read."""
    names, _ = _read(folder, skipped if skipped is not None else Skipped())
    return [folder / name for name in names]


def some_images(folder: Path, number: int) -> list[Path]:
    """Some of the image files directly inside ``folder``, by name: quick also where it holds a million."""
    with os.scandir(folder) as entries:
        images = (e.name for e in entries if not is_hidden(e.name) and is_image_name(e.name) and not _is_folder(e))
        return [folder / name for name in sorted(islice(images, number))]


def images_below(folder: Path, skipped: Skipped | None = None, above: Sequence[Path] = ()) -> list[Path]:
    """The image files inside ``folder`` and all folders below it, in the order of their paths.

    Links to files and folders are followed; one that leads back to a folder above it, or to one of the folders
    ``above``, is not entered.
    """
    skipped = skipped if skipped is not None else Skipped()
    return list(_walk(folder, skipped, tuple(map(_identity, above))))


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Within, Python does not look for garbage in circles: of 100,000 new records, all of which stay, that is a third
    of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def has_images(folder: Path) -> bool:
    """Whether at least one image file lies directly inside ``folder``; stops at the first."""
    with os.scandir(folder) as entries:
        return any(not is_hidden(e.name) and is_image_name(e.name) and not _is_folder(e) for e in entries)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Links followed; one that leads in a circle is no folder."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    """What all links to one folder share."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _walk(folder: Path, skipped: Skipped, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    own = _identity(folder)
    if own in above:
        return
    names, folders = _read(folder, skipped)
    for name in names:
        yield folder / name
    for name in folders:
        yield from _walk(folder / name, skipped, (*above, own))


def _read(folder: Path, skipped: Skipped) -> tuple[list[str], list[str]]:
    """Names of images and of folders in ``folder``, each sorted. The kind comes with the directory read: no stat."""
    names: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if is_hidden(name):
                if name != OWN_FOLDER:
                    skipped.add(name)
            elif is_image_name(name) and (entry.is_symlink() or not _is_folder(entry)):
                names.append(name)
            elif _is_folder(entry):
                folders.append(name)
            else:
                skipped.add(name)
    return sorted(names), sorted(folders)
