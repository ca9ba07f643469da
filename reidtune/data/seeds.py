"""Seeds from parts: the same parts give the same seed on every machine, Python and library version."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2⁶³) that depends on every part and on their order (BLAKE2b of the parts)."""
    text = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
