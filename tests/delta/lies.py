"""Files of deltas taken apart and put together wrongly."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reidtune.delta.format import canonical_json

NAME = "lora.0.q.down"  # float32 [2, 6], 48 bytes


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The file's header as JSON and its data."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def assemble(path: Path, listing: Any, data: bytes) -> None:
    text = listing if isinstance(listing, bytes) else json.dumps(listing).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def relist(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Lie in the header: ``change`` edits the tensor listing in place."""
    listing, data = parts(path)
    change(listing)
    assemble(path, listing, data)


def remeta(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Lie in the metadata, canonically spelled."""
    listing, data = parts(path)
    values = json.loads(listing["__metadata__"]["reidtune"])
    change(values)
    listing["__metadata__"]["reidtune"] = canonical_json(values)
    assemble(path, listing, data)
