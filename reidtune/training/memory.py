"""Bytes that a training step takes: what autograd keeps for the backward pass, and the most that lives at once."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_MMAP_THRESHOLD = -3  # what mallopt calls the size from which memory is the system's


@dataclass(frozen=True)
class Cost:
    """``fixed`` + ``per_sample`` · B bytes for B samples."""

    fixed: int
    per_sample: int

    def of(self, count: int) -> int:
        return self.fixed + self.per_sample * count

    @classmethod
    def between(cls, few: int, found_few: int, more: int, found_more: int) -> Cost:
        """The line through what two counts of samples took. What falls short of it is no gift: it is never negative."""
        per_sample = max(0, found_more - found_few) // (more - few)
        return cls(max(0, found_more - per_sample * more), per_sample)


def saved_bytes(forward: Callable[[], Any], excluded: Iterable[Tensor] = ()) -> int:
    """Bytes of distinct storages that autograd saves while ``forward`` runs.

    Storages of ``excluded`` (parameters, which are held anyway) do not count. Views of one storage count once.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in excluded}
    seen: dict[int, int] = {}
    alive: list[Tensor] = []  # keeps storages from being freed and their addresses from being used again

    def pack(tensor: Tensor) -> Tensor:
        storage, apart = tensor.untyped_storage(), tensor.detach()  # a tensor of the graph would keep itself alive
        if storage.data_ptr() not in known:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(apart)
        return apart

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = forward()
    del kept
    return sum(seen.values())


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """The most bytes of tensors made by ``work`` that live at once, beyond what lives before.

    On CUDA as its allocator counts them; elsewhere storages are followed operation by operation, so that what a kernel
    takes and gives back within one operation is not seen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    with _Live() as live:
        work()
    most: int = live.most
    return most


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM now; ``None`` where the system does not tell (it does on Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        import resource

        return int(pages * resource.getpagesize())
    except (OSError, ValueError, IndexError, ImportError):
        return None


def give_back_holes() -> None:
    """Collect what is no longer used, and give free pages of the heap back to the system (where it is glibc's)."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def give_back_at_once(always: bool = True) -> bool:
    """Have what is freed, from 1 MiB on, go back to the system; False where that cannot be chosen (it can with glibc).
    With ``always`` false from 32 MiB on, as the C library ends up with by itself.

    Else the C library keeps tensors of up to 32 MiB in a heap whose holes stay in RAM: the growth of a step was up to
    twice what lived at once. It takes time, since what comes from the system has to be cleared.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << (20 if always else 25)))
    except (AttributeError, OSError, TypeError):
        return False


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations make, until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        inputs = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage(), inputs)
        return found

    def _add(self, storage: torch.UntypedStorage, inputs: set[int]) -> None:
        key = id(storage)  # stays the same while the storage lives
        if key in self._known or key in inputs:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
