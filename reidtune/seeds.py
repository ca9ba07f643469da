"""Seeds from parts, and random numbers under a seed that leave everybody else's alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2⁶³) that depends on every part and on their order (BLAKE2b of the parts)."""
    text = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's CPU generator set to ``seed`` inside, as it was before outside.

    ``torch.manual_seed`` would also set the generators of the accelerators.
    """
    import torch

    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
