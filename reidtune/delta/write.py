"""Writing a delta: complete or not at all, and the same input gives the same bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from reidtune import __version__
from reidtune.delta.format import (
    DTYPE_BYTES,
    FORMAT,
    METADATA_KEY,
    DeltaHeader,
    canonical_json,
    digest_line,
    start_digest,
)
from reidtune.errors import ReidtuneError
from reidtune.files import not_written, whole_file

if TYPE_CHECKING:
    import torch

_DTYPES = {
    "torch.bool": "BOOL",
    "torch.uint8": "U8",
    "torch.int8": "I8",
    "torch.int16": "I16",
    "torch.int32": "I32",
    "torch.int64": "I64",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float32": "F32",
    "torch.float64": "F64",
}


def write_delta(path: str | Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> str:
    """Write ``tensors`` and ``header`` as the delta file ``path`` and return its digest (SHA-256, hex).

    ``header`` holds the fields of :class:`DeltaHeader` without ``norms`` and ``digest``, which are computed here;
    ``format``, ``parameters`` (all values of the tensors) and ``versions`` may be left out as well. A pretrained
    *file* is recorded by its name, never with its folder.

    The file appears under its name only when it is complete: raises :class:`ReidtuneError` if it cannot be
    written, and then an earlier file of that name is untouched. Raises :class:`ReidtuneError` for values that are
    not finite and :class:`DeltaError` for a header that the reader would refuse.
    """
    path = Path(path)
    plain = {name: _plain(name, tensors[name]) for name in sorted(tensors)}
    values = {
        "format": FORMAT,
        "parameters": sum(tensor.numel() for tensor in plain.values()),
        "versions": versions(),
        **_plain_json(header),
        "norms": {name: _norm(name, tensor) for name, tensor in plain.items()},
        "digest": "0" * 64,
    }
    values["backbone"] = _without_folder(values.get("backbone"))
    checked = DeltaHeader.from_json(values).to_json()
    if checked["parameters"] > sum(tensor.numel() for tensor in plain.values()):
        raise ValueError(f"parameters is {checked['parameters']}, but the tensors hold fewer values")

    digest = start_digest(checked)
    for name, tensor in plain.items():
        digest.update(digest_line(name, _dtype(name, tensor), tensor.shape))
        digest.update(_bytes(tensor))
    checked["digest"] = digest.hexdigest()

    listing: dict[str, Any] = {"__metadata__": {METADATA_KEY: canonical_json(checked)}}
    # Widest dtype first, then by name, as the safetensors library does: every tensor stays aligned.
    order = sorted(plain, key=lambda name: (-DTYPE_BYTES[_dtype(name, plain[name])], name))
    offset = 0
    for name in order:
        tensor = plain[name]
        size = tensor.numel() * tensor.element_size()
        entry = {
            "dtype": _dtype(name, tensor),
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        listing[name] = entry
        offset += size

    text = json.dumps(listing, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    _write_atomically(path, [struct.pack("<Q", len(text)), text, *(_bytes(plain[name]) for name in order)])
    return str(checked["digest"])


def versions() -> dict[str, str]:
    """The versions a delta records: reidtune, torch, open_clip."""
    return {"reidtune": __version__, "torch": _version("torch"), "open_clip": _version("open_clip_torch")}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _plain(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if name == "__metadata__" or not name:
        raise ValueError(f"{name!r} cannot be a tensor's name")
    _dtype(name, tensor)
    return tensor.detach().cpu().contiguous()


def _dtype(name: str, tensor: torch.Tensor) -> str:
    try:
        return _DTYPES[str(tensor.dtype)]
    except KeyError:
        raise ValueError(f"the tensor {name} has the dtype {tensor.dtype}, which a delta cannot hold") from None


def _norm(name: str, tensor: torch.Tensor) -> float:
    norm = float(tensor.double().norm())
    if norm - norm != 0:  # NaN or infinite
        raise ReidtuneError(
            f'The delta was not written: its tensor "{name}" holds values that are not finite.',
            "The training diverged. Lower the learning rate (--lr) and start again from an earlier state.",
        )
    return float(f"{norm:.6g}")  # the last digits depend on the order of summation


def _bytes(tensor: torch.Tensor) -> memoryview:
    import torch

    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data)


def _plain_json(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header as the reader will see it (tuples become lists); ``ValueError`` for what JSON cannot hold."""
    values: dict[str, Any] = json.loads(canonical_json(dict(header)))
    return values


def _without_folder(backbone: Any) -> Any:
    if not isinstance(backbone, dict) or not isinstance(backbone.get("pretrained"), str):
        return backbone
    given = backbone["pretrained"]
    is_file = PurePosixPath(given).suffix in {".pt", ".pth", ".bin", ".safetensors", ".ckpt"}
    if is_file or PurePosixPath(given).is_absolute() or PureWindowsPath(given).is_absolute():
        return {**backbone, "pretrained": PureWindowsPath(given).name}  # knows / and \\ alike
    return backbone


def _write_atomically(path: Path, parts: list[bytes | memoryview]) -> None:
    try:
        with whole_file(path) as file:
            for part in parts:
                file.write(part)
    except OSError as error:
        hint = "Make room or choose another folder, and run the command again."
        raise not_written(path, error, hint, "The delta ") from error
