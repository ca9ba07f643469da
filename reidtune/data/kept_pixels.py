"""Squashed images in a file of the cache folder: an image is decoded once, whichever epoch it is read in."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import os
import platform
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import features

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.record import ImageFile
from reidtune.files import forget_oldest
from reidtune.paths import cache_folder

MOST_BYTES = 8 * 10**9  # of all files together; the ones unused for longest go first
_FORMAT = b"1"
_TAIL = struct.Struct("<16sI")  # what file the pixels are of, and their checksum
_READS = ("image.py", "transforms.py", "kept_pixels.py")  # code that decides the pixels
_CODECS = ("jpg", "jpg_2000", "zlib", "libtiff")
_handles: dict[tuple[int, Path], io.FileIO] = {}  # by process: a fork shares the place in a file


@dataclass(frozen=True, slots=True)
class Shelf:
    """The file as a worker process needs it: one row for each image, uint8 [3, H, W] with what tells its source and a
    checksum behind. A row is used only where both are right, so that a file that is cut short, damaged, half written
    or older than an image costs time and nothing else."""

    path: Path
    shape: tuple[int, int, int]

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape)) + _TAIL.size

    def take(self, row: int, key: bytes) -> NDArray[np.uint8] | None:
        """The pixels of ``row`` if they are those of ``key``."""
        content = bytearray(self.row_bytes)
        try:
            file = self._open()
            file.seek(row * self.row_bytes)
            if file.readinto(content) != self.row_bytes:
                return None
        except OSError:
            return None
        pixels = memoryview(content)[: -_TAIL.size]
        if _TAIL.unpack(memoryview(content)[-_TAIL.size :]) != (key, zlib.crc32(pixels)):
            return None
        return np.frombuffer(pixels, np.uint8).reshape(self.shape)

    def put(self, row: int, key: bytes, pixels: NDArray[np.uint8]) -> None:
        """Write a row. Raises ``OSError`` where it cannot be written."""
        content = pixels.tobytes()
        content += _TAIL.pack(key, zlib.crc32(content))
        file = self._open()
        file.seek(row * self.row_bytes)
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _open(self) -> io.FileIO:
        place = os.getpid(), self.path
        if place not in _handles:
            _handles[place] = io.FileIO(self.path, "r+")
        return _handles[place]


class KeptPixels:
    """The squashed images of ``files`` for one ``preprocess``; the file is found again by another run on the same
    files, whatever its seed, its method or its weights."""

    def __init__(self, files: Iterable[ImageFile], preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        self._rows: dict[ImageFile, int] = {}
        names: dict[tuple[str, str], int] = {}
        for file in files:
            if file not in self._rows:
                name = os.path.abspath(file.path), str(file.crop)  # noqa: PTH100 (resolve would follow links)
                self._rows[file] = names.setdefault(name, len(names))
        order = {name: row for row, name in enumerate(sorted(names))}  # in no order of a split or a seed
        row_of = {number: order[name] for name, number in names.items()}
        self._rows = {file: row_of[number] for file, number in self._rows.items()}
        digest = hashlib.blake2b(code_stamp() + repr(_kind(preprocess)).encode(), digest_size=16)
        for name in order:
            digest.update("\0".join((*name, "")).encode("utf-8", "surrogateescape"))
        self.path = cache_folder() / "images" / f"{digest.hexdigest()}.pixels"
        self.shelf = Shelf(self.path, (3, preprocess.height, preprocess.width))

    @property
    def bytes(self) -> int:
        """Of the file once it holds every image."""
        return (max(self._rows.values(), default=-1) + 1) * self.shelf.row_bytes

    def row(self, file: ImageFile, preprocess: Preprocess) -> int | None:
        """Where the squashed image has its place, if it has one."""
        return self._rows.get(file) if _kind(preprocess) == _kind(self.preprocess) else None

    def create(self) -> None:
        """Make the file, empty, unless it is there, and make room for it. Raises ``OSError``."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.truncate(self.bytes)
        os.utime(self.path)  # used now
        others = (path for path in self.path.parent.glob("*.pixels") if path != self.path)
        with contextlib.suppress(OSError):
            forget_oldest(others, lambda total: total + self.bytes <= MOST_BYTES, taken=_taken)

    def used(self) -> int:
        """Bytes of the disk that it takes now."""
        try:
            return _taken(self.path.stat())
        except OSError:
            return 0

    def remove(self) -> None:
        """Delete the file; emptied first, since other processes may have it open."""
        with contextlib.suppress(OSError):
            os.truncate(self.path, 0)
        with contextlib.suppress(OSError):
            self.path.unlink()


def file_key(file: ImageFile) -> bytes | None:
    """What tells the pixels of a file from those of another that takes its place: size, times, crop [16 bytes];
    ``None`` where it is missing."""
    try:
        status = os.stat(file.path)  # noqa: PTH116 (for every image of every epoch)
    except OSError:
        return None
    parts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, file.crop, file.size)
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


@functools.cache
def code_stamp() -> bytes:
    """What decides the pixels besides the files: this package's reading, Pillow and its decoders, the processor."""
    own = Path(__file__).parent
    parts = [_FORMAT, PIL.__version__.encode(), platform.machine().encode()]
    parts += [str(features.version(name)).encode() for name in (*_CODECS, "webp", "avif") if features.check(name)]
    return hashlib.blake2b(b"\0".join(parts + [(own / name).read_bytes() for name in _READS])).digest()


def _kind(preprocess: Preprocess) -> tuple[int, int, str]:
    return preprocess.height, preprocess.width, preprocess.interpolation


def _taken(status: os.stat_result) -> int:
    return min(status.st_size, getattr(status, "st_blocks", status.st_size) * 512)
