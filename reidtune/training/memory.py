"""How many bytes autograd keeps for the backward pass: counted exactly, not timed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def saved_bytes(forward: Callable[[], Any], excluded: Iterable[Tensor] = ()) -> int:
    """Bytes of distinct storages that autograd saves while ``forward`` runs.

    Storages of ``excluded`` (parameters, which are held anyway) do not count. Views of one storage count once.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in excluded}
    seen: dict[int, int] = {}
    alive: list[Tensor] = []  # keeps storages from being freed and their addresses from being used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = forward()
    del kept
    return sum(seen.values())
