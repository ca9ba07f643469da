"""Files that appear under their name only when they are complete, on the disk and not only in its cache."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from reidtune.errors import ReidtuneError

_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}\.partial")


@contextlib.contextmanager
def whole_file(path: Path, private: bool = False) -> Iterator[IO[bytes]]:
    """A binary file to write into, readable by its owner alone where it is ``private``. It gets the name ``path`` when
    the block ends; when it ends with an error, it vanishes, and an earlier file of that name stays. A process that is
    killed leaves a ``.partial`` file behind, which nothing reads; see :func:`remove_partials`.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("xb") as file:
            if private:
                temporary.chmod(0o600)  # while it is empty
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_whole(path: Path, content: str | bytes, private: bool = False) -> None:
    """Write a file at once or not at all; text in UTF-8, its line ends as they are. Raises ``OSError``."""
    with whole_file(path, private) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def rename(path: Path, new: Path) -> None:
    """Give a file another name in its folder, so that a power cut does not undo it. Raises ``OSError``."""
    path.replace(new)
    sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Make new names survive a power cut. The files themselves are safe by then, so a refusal is no error."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_partials(folder: Path) -> None:
    """Remove what killed processes left of files that they were writing in ``folder``; its subfolders stay."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _PARTIAL.fullmatch(path.name):
                path.unlink()


def forget_oldest(
    files: Iterable[Path],
    enough: Callable[[int], bool],
    keep: Path | None = None,
    taken: Callable[[os.stat_result], int] = lambda status: status.st_size,
) -> None:
    """Delete those of a cache's ``files`` that were used the longest ago, until ``enough`` holds of the bytes that all
    of them take; ``keep`` counts and stays. ``taken`` says how many a file takes. Raises ``OSError``."""
    found = [(path, path.stat()) for path in files]
    total = sum(taken(status) for _, status in found)
    for path, status in sorted(found, key=lambda pair: pair[1].st_mtime_ns):
        if enough(total):
            return
        if path != keep:
            path.unlink(missing_ok=True)
            total -= taken(status)


def not_written(path: Path, error: Exception, hint: str, what: str = "") -> ReidtuneError:
    """The error that says which file could not be written, why, and what to do next (``hint``)."""
    earlier = " The earlier file of that name is untouched." if _exists(path) else ""
    return ReidtuneError(f"{what}{path} could not be written: {reason(error)}.{earlier}", hint)


def reason(error: Exception) -> str:
    """The system's words for what went wrong, without the file's name."""
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
