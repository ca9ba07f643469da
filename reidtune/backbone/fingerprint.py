"""Which backbone a delta belongs to: a hash per tensor, and the switches that change the function."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reidtune.paths import cache_folder

SHORT = 12  # hex digits of a tensor's hash that travel in a delta


def tensor_hashes(state: Mapping[str, Tensor]) -> dict[str, str]:
    """A short SHA-256 (hex) of each tensor's shape and fp32 values, by sorted name.

    Values are cast to fp32 first, so that an fp16 ``.pt`` and an fp32 safetensors of one model agree.
    """
    hashes = {}
    for name in sorted(state):
        values = state[name].detach().to("cpu").float().contiguous()
        digest = hashlib.sha256(f"{list(values.shape)}".encode())
        digest.update(values.numpy().data)
        hashes[name] = digest.hexdigest()[:SHORT]
    return hashes


def file_tensor_hashes(path: Path, state: Mapping[str, Tensor]) -> dict[str, str]:
    """:func:`tensor_hashes` of a file's tensors, remembered by file identity: path, size, times of modification and of
    change. Archives give files the times they were packed with; the time of change nobody sets."""
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}|{len(state)}"
    store = cache_folder() / "fingerprints.json"
    try:
        read = json.loads(store.read_text())
    except (OSError, ValueError):
        read = {}
    known: dict[str, dict[str, str]] = read if isinstance(read, dict) else {}
    if key in known:
        return known[key]
    known[key] = tensor_hashes(state)
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        temporary = store.with_suffix(f".{secrets.token_hex(4)}.tmp")
        temporary.write_text(json.dumps(known))
        temporary.replace(store)
    except OSError:
        pass  # a cache that cannot be written costs time, nothing else
    return known[key]


def fingerprint(hashes: Mapping[str, str], switches: Mapping[str, Any]) -> dict[str, Any]:
    """``{"digest", "tensors", "switches"}``; the digest is a SHA-256 (hex) over the other two."""
    canonical = json.dumps([dict(hashes), dict(switches)], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return {"digest": digest, "tensors": dict(hashes), "switches": dict(switches)}
