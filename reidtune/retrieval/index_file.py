"""The file of an index: safetensors, checked on reading, replaced as a whole on writing."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reidtune.files import write_whole

FORMAT = "1"
_TENSORS = ("names", "stamps", "readable", "features")


class IndexFileError(Exception):
    """The file is no index, or not the one that is wanted; the message goes on after the file's name."""


@dataclass(frozen=True)
class IndexData:
    """``names`` of N images or samples, sorted; ``stamps`` int64 [N, M, 3] and ``readable`` bool [N, M] of their M
    files; ``features`` float32 [N, D], zero where no file can be read."""

    names: list[str]
    stamps: np.ndarray
    readable: np.ndarray
    features: np.ndarray


def write_index(path: Path, data: IndexData, key: str) -> None:
    """Write ``data`` under ``key``; the file appears under its name only when it is complete.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.numpy import save

    names = b"\0".join(os.fsencode(name) for name in data.names)  # the one byte that no name holds
    tensors = {
        "names": np.frombuffer(names, dtype=np.uint8),
        "stamps": data.stamps.reshape(len(data.names), -1),
        "readable": data.readable.astype(np.uint8).reshape(-1),
        "features": data.features,
    }
    content = save(tensors, {"reidtune-index": FORMAT, "key": key, "checksum": _checksum(tensors)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)


def read_index(path: Path, key: str, width: int, files: int = 1) -> IndexData:
    """The index in ``path``, if it was written whole, under ``key``, with features of ``width`` values and ``files``
    files a row.

    Raises:
        IndexFileError: it was not; nothing in the file is ever executed.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
    except Exception as error:  # the library raises its own error, the system others
        raise IndexFileError("is damaged") from error
    if metadata.get("reidtune-index") != FORMAT or metadata.get("key") != key:
        raise IndexFileError("was written by another version, or for another model")
    names = [os.fsdecode(name) for name in tensors["names"].tobytes().split(b"\0")] if tensors["names"].size else []
    stamps, readable, features = tensors["stamps"], tensors["readable"], tensors["features"]
    if (
        metadata.get("checksum") != _checksum(tensors)
        or (stamps.dtype, stamps.shape) != (np.int64, (len(names), 3 * files))
        or (readable.dtype, readable.shape) != (np.uint8, (len(names) * files,))
        or (features.dtype, features.shape) != (np.float32, (len(names), width))
        or not np.isfinite(features).all()
    ):
        raise IndexFileError("is damaged")
    return IndexData(names, stamps.reshape(-1, files, 3), readable.astype(bool).reshape(-1, files), features)


def _checksum(tensors: dict[str, np.ndarray]) -> str:
    value = 0
    for name in _TENSORS:
        value = zlib.crc32(np.ascontiguousarray(tensors[name]).view(np.uint8).reshape(-1).data, value)
    return f"{value:08x}"
