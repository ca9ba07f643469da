"""The image files of a folder of any kind, each with a stamp that tells whether it changed."""

from __future__ import annotations

import os
import stat
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from reidtune.data.scan import is_hidden, is_image_name, show
from reidtune.errors import DataError

Stamp = tuple[int, int, int]  # size in bytes, time of the content's and of the file's last change in ns
MISSING: Stamp = (-1, -1, -1)  # a link to nowhere


@dataclass
class Listing:
    """``files``: name relative to the folder (with ``/``) → stamp, sorted by name. ``closed``: folders below it that
    could not be read."""

    files: dict[str, Stamp] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)


def list_images(folder: Path) -> Listing:
    """Every image file in ``folder`` and below, by its name's ending; no image is opened.

    Hidden files and folders are left out. Links are followed; a folder that is reached in several ways is entered
    once, through its own name rather than through a link where both lie in ``folder``.

    Raises:
        DataError: ``folder`` does not exist, is no folder, or cannot be read.
    """
    found: dict[str, Stamp] = {}
    closed: list[str] = []
    seen: set[tuple[int, int]] = set()
    waiting = deque([""])  # folders to read, those behind links last
    while waiting:
        inside = waiting.popleft()
        path = os.path.join(folder, inside)  # noqa: PTH118  (100,000 times: no Path objects)
        try:
            own = os.stat(path)  # noqa: PTH116
            if (own.st_dev, own.st_ino) in seen:
                continue
            seen.add((own.st_dev, own.st_ino))
            with os.scandir(path) as entries:
                for entry in entries:
                    if not is_hidden(entry.name):
                        _take(entry, inside, found, waiting)
        except OSError as error:
            if not inside:
                raise _refusal(folder, error) from error
            closed.append(show(inside.rstrip("/")))
    return Listing(dict(sorted(found.items())), sorted(closed))


def _take(entry: os.DirEntry[str], inside: str, found: dict[str, Stamp], waiting: deque[str]) -> None:
    try:
        if entry.is_dir(follow_symlinks=False):
            waiting.appendleft(f"{inside}{entry.name}/")
            return
        if entry.is_symlink() and entry.is_dir():
            waiting.append(f"{inside}{entry.name}/")
            return
        if not is_image_name(entry.name):
            return
        status = entry.stat()
    except OSError:  # a link to nowhere, or in a circle
        if is_image_name(entry.name):
            found[inside + entry.name] = MISSING
        return
    if stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
        found[inside + entry.name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _refusal(folder: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f'There is no folder "{show(folder)}".', "Give a folder of images, or the word demo.")
    if isinstance(error, NotADirectoryError):
        return DataError(f'"{show(folder)}" is a file, not a folder.', "Give the folder that it lies in.")
    return DataError(f'"{show(folder)}" cannot be read: {error.strerror or error}.', "Check its permissions.")
