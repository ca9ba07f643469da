"""A smaller delta from a large one: the strongest directions of a full difference, or half precision."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reidtune.delta import DeltaHeader, find_delta, read_header, read_tensors, write_delta
from reidtune.errors import SettingsError
from reidtune.tuning.difference import LEFT, RIGHT, is_factored

DEFAULT_RANK = 16
_RANK_SETTING = "difference_rank"


def export_low_rank(delta: Path, output: Path, rank: int, force: bool) -> dict[str, Any]:
    """Replace every matrix of a full difference by its best approximation of ``rank`` (truncated SVD; Eckart and Young
    1936) where that is smaller. The outcome is a delta of the same method with ``difference_rank`` set.

    Returns what ``export --json`` prints; ``relative_error`` is the Frobenius norm of what was cut, as a share of the
    norm of the whole delta.

    Raises:
        SettingsError: the delta holds no full difference, or ``output`` exists.
        DeltaError: the delta is damaged.
    """
    header, tensors, path = _read(delta, output, force)
    before = header.settings.get(_RANK_SETTING)
    if before is None or not any("difference." in name for name in tensors):
        raise SettingsError(
            f"{path} holds no full difference of weights (its method is {header.method}).",
            "low-rank is for deltas of full, or of prompt-decoupling and clip-reid that tune full.",
        )
    if before:
        raise SettingsError(f"{path} is of rank {before} already.", "Give the delta that training wrote.")
    smaller: dict[str, Tensor] = {}
    cut = 0.0
    for name, value in tensors.items():
        if "difference." in name and is_factored(value.shape, rank):
            left, singular, right = torch.linalg.svd(value.float().flatten(1), full_matrices=False)
            root = singular[:rank].sqrt()
            smaller[name + LEFT] = (left[:, :rank] * root).contiguous()
            smaller[name + RIGHT] = (root[:, None] * right[:rank]).contiguous()
            cut += float(singular[rank:].double().square().sum())
        else:
            smaller[name] = value
    settings = {**header.settings, _RANK_SETTING: rank}
    return _write(header, tensors, smaller, settings, {"rank": rank}, cut, path, output)


def export_half(delta: Path, output: Path, force: bool) -> dict[str, Any]:
    """Store every tensor of a delta in fp16: half the size. Values are computed in fp32 when it is loaded.

    Raises:
        SettingsError: ``output`` exists, or a value is beyond the range of fp16.
        DeltaError: the delta is damaged.
    """
    header, tensors, path = _read(delta, output, force)
    halves = {name: value.half() for name, value in tensors.items()}
    for name, value in halves.items():
        if not value.isfinite().all():
            raise SettingsError(f"{name} of {path} is beyond the range of fp16.", "Keep the delta as it is.")
    cut = sum(float((value.float() - halves[name].float()).double().square().sum()) for name, value in tensors.items())
    return _write(header, tensors, halves, header.settings, {"dtype": "fp16"}, cut, path, output)


def _read(delta: Path, output: Path, force: bool) -> tuple[DeltaHeader, dict[str, Tensor], Path]:
    path = find_delta(delta)
    if output.resolve() == path.resolve():
        raise SettingsError(f"--output {output} is the delta itself.", "Choose another file; what is cut is lost.")
    if output.is_dir():
        raise SettingsError(f"--output {output} is a folder.", "Give a file, such as small.safetensors.")
    if output.exists() and not force:
        raise SettingsError(f"--output {output} exists.", "Choose another file, or replace it with --force.")
    return read_header(path), read_tensors(path), path


def _write(
    header: DeltaHeader,
    before: dict[str, Tensor],
    after: dict[str, Tensor],
    settings: dict[str, Any],
    how: dict[str, Any],
    cut: float,
    path: Path,
    output: Path,
) -> dict[str, Any]:
    whole = sum(float(value.double().square().sum()) for value in before.values())
    error = math.sqrt(cut / whole) if whole else 0.0
    fields = header.to_json()
    for computed in ("norms", "digest", "parameters", "versions", "format"):
        del fields[computed]
    # the old numbers are not those of this file
    metrics = {"made": {**how, "from": header.digest, "relative_error": float(f"{error:.6g}")}}
    digest = write_delta(output, after, {**fields, "settings": settings, "metrics": metrics})
    return {
        "schema": 1,
        "delta": str(output),
        "digest": digest,
        "from": header.digest,
        **how,
        "bytes": output.stat().st_size,
        "bytes_before": path.stat().st_size,
        "relative_error": error,
    }
