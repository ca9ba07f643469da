"""A table of rows on disk: written once from front to back, memory-mapped afterwards, checked before it is trusted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reidtune.files import forget_oldest, whole_file
from reidtune.units import precise_bytes

MOST_BYTES = 40 * 10**9  # of all files together; the ones unused for longest go first
LEFT_FREE = 10**9  # bytes of the disk that stay free for everybody else
FORMAT = "1"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_NAMES = {"fp32": "F32", "bf16": "BF16"}
_ALIGNED = 64
_STALE_SECONDS = 3600.0  # a partial file not written to for so long is of a process that is gone
_CHUNK = 1 << 26  # bytes checked at once


class DamagedError(Exception):
    """A file that is not what it should be; the words go on after ``is``."""


def file_bytes(count: int, shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of the file of ``count`` rows of ``shape``, the header left out (it is short)."""
    return count * (_row_bytes(shape, dtype) + 8)


def write_rows(
    path: Path,
    key: str,
    shape: tuple[int, ...],
    count: int,
    dtype: str,
    parts: Iterable[Tensor],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write ``count`` rows of ``shape``, which come in ``parts`` [n, *shape], with a CRC-32 of each: a safetensors file
    that appears when it is whole, for its owner alone, since it tells much of the images.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    header = _header(key, shape, count, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    checks: list[int] = []
    with whole_file(path, private=True) as file:
        file.write(header)
        for part in parts:
            for row in part.to("cpu", DTYPES[dtype]).contiguous():
                content = row.view(torch.uint8).numpy().data
                file.write(content)
                checks.append(zlib.crc32(content))
            progress(len(checks), count)
        if len(checks) != count:
            raise ValueError(f"{len(checks)} rows came, {count} were announced")
        file.write(torch.tensor(checks, dtype=torch.int64).numpy().data)


def map_rows(path: Path, key: str, shape: tuple[int, ...], count: int, dtype: str) -> Tensor:
    """The rows [count, *shape] of a file of :func:`write_rows`, memory-mapped. All of it is read once and compared with
    its CRCs.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is no such file, of another key, of another size, or was changed after it was written.
    """
    from safetensors import SafetensorError, safe_open

    path.stat()
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("reidtune-rows") != FORMAT or metadata.get("key") != key:
                raise DamagedError("of something else")
            if set(file.keys()) != {"rows", "checks"}:
                raise DamagedError("of another form")
            rows: Tensor = file.get_tensor("rows")
            checks: Tensor = file.get_tensor("checks")
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DamagedError(f"damaged ({str(error).splitlines()[0]})") from error
    if tuple(rows.shape) != (count, *shape) or rows.dtype != DTYPES[dtype] or checks.shape != (count,):
        raise DamagedError(f"of another size ({tuple(rows.shape)}, {rows.dtype})")
    each = max(1, _CHUNK // _row_bytes(shape, dtype))
    for start in range(0, count, each):
        for place, row in enumerate(rows[start : start + each], start=start):
            if zlib.crc32(row.view(torch.uint8).numpy().data) != int(checks[place]):
                raise DamagedError(f"damaged (row {place} is not what was written)")
    with contextlib.suppress(OSError):
        os.utime(path)  # used now
    return rows


def lacking_room(path: Path, needed: int) -> str | None:
    """Why ``needed`` more bytes should not be written to ``path``, as a sentence; ``None``: they may. Files in its
    folder that were not used for longest are deleted first, and what killed processes left half-written."""
    if needed > MOST_BYTES:
        return f"that is more than the {precise_bytes(MOST_BYTES)} that are kept in {path.parent}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        forget_oldest(
            path.parent.glob("*.safetensors"),
            lambda total: total + needed <= MOST_BYTES and _free(path.parent) >= needed + LEFT_FREE,
            keep=path,
        )
        free = _free(path.parent)
    except OSError as error:
        return f"{path.parent} cannot be written ({error.strerror or error})"
    if free < needed + LEFT_FREE:
        there, left = precise_bytes(free), precise_bytes(LEFT_FREE)
        return f"the disk of {path.parent} has {there} free, of which {left} are left to others"
    return None


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _remove_stale(folder: Path) -> None:
    for path in folder.glob("*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


def _row_bytes(shape: tuple[int, ...], dtype: str) -> int:
    return torch.Size(shape).numel() * DTYPES[dtype].itemsize


def _header(key: str, shape: tuple[int, ...], count: int, dtype: str) -> bytes:
    end = count * _row_bytes(shape, dtype)
    entries: dict[str, Any] = {
        "__metadata__": {"reidtune-rows": FORMAT, "key": key},
        "rows": {"dtype": _NAMES[dtype], "shape": [count, *shape], "data_offsets": [0, end]},
        "checks": {"dtype": "I64", "shape": [count], "data_offsets": [end, end + 8 * count]},
    }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNED)
    return struct.pack("<Q", len(text)) + text
