"""Reading a delta: nothing is executed, nothing is believed, and the header needs only the standard library."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from reidtune.delta.format import (
    DTYPE_BYTES,
    MAX_HEADER_BYTES,
    METADATA_KEY,
    DeltaHeader,
    TensorEntry,
    canonical_json,
    check_fingerprint,
    damaged,
    digest_line,
    start_digest,
    strict_json,
)
from reidtune.errors import DeltaError, ReidtuneError, SettingsError

if TYPE_CHECKING:
    import torch

RUN_FILES = ("delta.safetensors", "best.safetensors")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class DeltaFile:
    """A delta as it lies on disk: where, what it says, its tensors by name, and its size in bytes."""

    path: Path
    header: DeltaHeader
    tensors: tuple[TensorEntry, ...]
    bytes: int
    data_start: int


def find_delta(path: str | Path) -> Path:
    """The delta file that ``path`` means: itself, or the one of a run folder.

    Raises :class:`SettingsError` if there is none.
    """
    path = Path(path)
    if path.is_dir():
        for name in RUN_FILES:
            if (path / name).is_file():
                return path / name
        raise SettingsError(
            f"The folder {path} holds no delta.", f"A run folder has one named {' or '.join(RUN_FILES)}."
        )
    if not path.exists():
        raise SettingsError(
            f"There is no delta at {path}.",
            "Give a .safetensors file or the folder of a run that has finished.",
        )
    return path


def read_file(path: str | Path) -> DeltaFile:
    """Header and tensor list of a delta file or run folder, checked against each other and the file's size.

    The tensors' bytes are not read; :func:`verify` does that. Raises :class:`DeltaError` with the reason for a
    file that is damaged or no delta, :class:`SettingsError` if it does not exist.
    """
    path = find_delta(path)
    try:
        with path.open("rb") as file:
            return _parse(path, file)
    except OSError as error:
        raise _unreadable(path, error) from error
    except DeltaError as error:
        raise DeltaError(f"{path}: {error.message}", error.hint) from error


def read_header(path: str | Path) -> DeltaHeader:
    """What the delta at ``path`` says of itself; see :func:`read_file` for the checks and errors."""
    return read_file(path).header


def verify(path: str | Path) -> DeltaFile:
    """Recompute the digest over metadata and tensors; raises :class:`DeltaError` if it is not the stated one."""
    delta = read_file(path)
    digest = start_digest(delta.header.to_json())
    try:
        with delta.path.open("rb") as file:
            for entry in delta.tensors:  # sorted by name
                digest.update(digest_line(entry.name, entry.dtype, entry.shape))
                file.seek(delta.data_start + entry.start)
                left = entry.stop - entry.start
                while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                    digest.update(chunk)
                    left -= len(chunk)
    except OSError as error:
        raise _unreadable(delta.path, error) from error
    if digest.hexdigest() != delta.header.digest:
        wrong = damaged(f"its digest is {digest.hexdigest()[:12]}, but its header says {delta.header.digest[:12]}")
        raise DeltaError(f"{delta.path}: {wrong.message}", wrong.hint)
    return delta


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a delta on the CPU, by name, after its digest has been verified."""
    delta = verify(path)
    import safetensors
    from safetensors.torch import load_file

    try:
        return load_file(delta.path)
    except OSError as error:
        raise _unreadable(delta.path, error) from error
    except safetensors.SafetensorError as error:
        raise DeltaError(f"{delta.path}: the delta is damaged: {error}.") from error


def check_backbone(header: DeltaHeader, fingerprint: dict[str, Any]) -> None:
    """Raise :class:`DeltaError` unless the backbone with this ``fingerprint`` is the one the delta was trained on.

    ``fingerprint`` is ``{"digest", "tensors": {name: hash}, "switches": {name: value}}``. The message names the
    first tensor, or the first switch with both values, that differs.
    """
    found = json.loads(canonical_json(fingerprint))  # tuples become lists, as in the file
    check_fingerprint(found)
    wanted = header.backbone["fingerprint"]
    name, pretrained = header.backbone["name"], header.backbone["pretrained"]
    trained_on = f"{name} ({pretrained})" if pretrained else name
    load_it = f"Load the backbone it was trained on: --backbone {name}"
    if pretrained:
        load_it += f" --pretrained {pretrained} (a tag, or your copy of that file)"
    if pretrained == "embedded":
        made_by = header.versions.get("reidtune", "another version")
        load_it = f"The embedded backbone may change with reidtune; this delta needs that of {made_by}"

    differing = _differing(wanted["tensors"], found["tensors"])
    if differing:
        first = differing[0]
        if first not in found["tensors"]:
            what = f'this backbone has no tensor "{first}"'
        elif first not in wanted["tensors"]:
            what = f'this backbone has a tensor "{first}" that one has not'
        else:
            what = f'the tensor "{first}" has other values in this backbone'
        rest = f", and {len(differing) - 1} more differ" if len(differing) > 1 else ""
        raise DeltaError(f"The delta was trained on {trained_on}, but {what}{rest}.", f"{load_it}.")
    for switch in _differing(wanted["switches"], found["switches"]):
        here, there = found["switches"].get(switch), wanted["switches"].get(switch)
        raise DeltaError(
            f"The delta was trained on {trained_on} with {switch} = {canonical_json(there)}, "
            f"but this backbone has {switch} = {canonical_json(here)}.",
            f"Load the backbone with the delta's {switch}: leave that setting out when you load the delta.",
        )
    if wanted["digest"] != found["digest"]:
        raise DeltaError(
            f"The delta was trained on {trained_on} with the fingerprint {wanted['digest'][:12]}, "
            f"but this backbone has {found['digest'][:12]}.",
            f"{load_it}.",
        )


def _differing(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    missing = object()
    return [key for key in sorted({*wanted, *found}) if wanted.get(key, missing) != found.get(key, missing)]


def _parse(path: Path, file: BinaryIO) -> DeltaFile:
    size = file.seek(0, 2)
    file.seek(0)
    if size < 8:
        raise damaged(f"the file has {size} bytes, too few for a safetensors file")
    (length,) = struct.unpack("<Q", file.read(8))
    if length > MAX_HEADER_BYTES:
        raise damaged(f"its header claims {length:,} bytes, and {MAX_HEADER_BYTES:,} is the limit")
    if length > size - 8:
        raise damaged(f"its header claims {length:,} bytes, but the file has only {size - 8:,} more")
    listing = _parse_json(file.read(length))
    metadata = listing.pop("__metadata__", None)
    tensors = tuple(sorted((_entry(name, values) for name, values in listing.items()), key=lambda e: e.name))
    _check_cover(tensors, size - 8 - length)
    header = _parse_metadata(metadata)
    names = {entry.name for entry in tensors}
    if odd := sorted(names ^ set(header.norms)):
        raise damaged(f'tensors and norms do not list the same names: "{odd[0]}" is in only one of them')
    if header.parameters > sum(entry.values for entry in tensors):
        raise damaged(f"it claims {header.parameters:,} parameters, but its tensors hold fewer values")
    return DeltaFile(path, header, tensors, size, 8 + length)


def _parse_json(raw: bytes) -> dict[str, Any]:
    text = raw.rstrip(b" ")  # the format pads with spaces, nothing else
    if not text.startswith(b"{") or not text.endswith(b"}"):
        raise damaged("its header is not a JSON object")
    try:
        listing = strict_json(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(f"its header is not valid JSON ({error})") from error
    if not isinstance(listing, dict):
        raise damaged("its header is not a JSON object")
    return listing


def _entry(name: str, values: Any) -> TensorEntry:
    if not isinstance(values, dict) or set(values) != {"dtype", "shape", "data_offsets"}:
        raise damaged(f'the tensor "{name}" must have dtype, shape and data_offsets, and nothing else')
    dtype, shape, offsets = values["dtype"], values["shape"], values["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise damaged(f'the tensor "{name}" has the unknown dtype {str(dtype)[:20]!r}')
    if not isinstance(shape, list) or not all(map(_is_size, shape)) or len(shape) > 8:
        raise damaged(f'the tensor "{name}" has the shape {str(shape)[:60]}, which is none')
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise damaged(f'the tensor "{name}" has the offsets {str(offsets)[:60]}, which are none')
    start, stop = offsets
    if not _is_size(math.prod(max(item, 1) for item in shape)):  # a zero beside huge sizes would pass the next check
        raise damaged(f'the tensor "{name}" has the shape {shape}, which is too large')
    if start > stop or math.prod(shape) * DTYPE_BYTES[dtype] != stop - start:
        raise damaged(
            f'the tensor "{name}" of shape {shape} and dtype {dtype} needs '
            f"{math.prod(shape) * DTYPE_BYTES[dtype]:,} bytes, but its offsets give {stop - start:,}"
        )
    return TensorEntry(name, dtype, tuple(shape), start, stop)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _check_cover(tensors: tuple[TensorEntry, ...], data_bytes: int) -> None:
    end = 0
    for entry in sorted(tensors, key=lambda entry: (entry.start, entry.stop)):
        if entry.start != end:
            kind = "overlaps the one before it" if entry.start < end else "leaves a hole before it"
            raise damaged(f'the tensor "{entry.name}" {kind} in the file')
        end = entry.stop
    if end != data_bytes:
        raise damaged(f"its tensors need {end:,} bytes, but the file holds {data_bytes:,}")


def _parse_metadata(metadata: Any) -> DeltaHeader:
    if not isinstance(metadata, dict) or METADATA_KEY not in metadata:
        raise DeltaError(
            "this is a safetensors file but no delta.",
            "It may hold a backbone's weights: those are given with --pretrained FILE.",
        )
    if len(metadata) > 1:
        odd = next(key for key in metadata if key != METADATA_KEY)
        raise damaged(f'its metadata has the unknown key "{odd}"')
    text = metadata[METADATA_KEY]
    if not isinstance(text, str):
        raise damaged("its metadata is not a string")
    try:
        values = strict_json(text)
        canonical = canonical_json(values)
        canonical.encode()
    except (ValueError, RecursionError) as error:
        raise damaged(f"its metadata is not valid JSON ({error})") from error
    if canonical != text:  # two spellings of one delta would mean two files with one digest
        raise damaged("its metadata is not in canonical form")
    return DeltaHeader.from_json(values)


def _unreadable(path: Path, error: OSError) -> ReidtuneError:
    return ReidtuneError(f"{path} cannot be read: {error.strerror or error}.")
