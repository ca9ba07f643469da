"""Processes that torchrun started, joined by torch's own collectives: gloo between CPUs, NCCL between GPUs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from reidtune.devices import choose_device
from reidtune.errors import ReidtuneError, SettingsError
from reidtune.launch import Launch, launched, speaks_of_failure
from reidtune.team import ALONE, Team
from reidtune.training.exchange import DataParallel
from reidtune.training.lost import ProcessLost, reached
from reidtune.training.watch import STEP, Watch, watched

T = TypeVar("T")

# How long a process waits for another in a collective. A process that ends is noticed at once; this is for one that
# hangs, and must be longer than the first takes to rank the largest validation set.
_WAIT = timedelta(minutes=30)
_WAIT_FIRST = timedelta(days=1)  # for the first process to download weights


@contextmanager
def joined(device: str) -> Iterator[Team]:
    """The team of the processes that torchrun started, or :data:`~reidtune.team.ALONE`.

    ``device`` is ``auto``, ``cuda`` (each process has the GPU of its local rank) or ``cpu``.

    Raises:
        SettingsError: a device that several processes cannot share, or fewer GPUs than processes.
    """
    launch = launched()
    if launch is None:
        yield ALONE
        return
    chosen = device_of(device, launch)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    with watched(_unheard) as watch:
        with reached():
            store = _store()
            dist.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.size, timeout=_WAIT)
        yield Processes(launch, chosen, store, watch)
    dist.destroy_process_group()  # not after an error: it would wait for processes that may not come


def device_of(name: str, launch: Launch) -> torch.device:
    """The device of this process; see :func:`joined`."""
    if name not in ("auto", "cuda", "cpu"):
        raise SettingsError(
            f"training.device is {name}, but torchrun started {launch.size} processes, each of which takes its own.",
            "Use --device auto, cuda (the GPU of each process's local rank) or cpu.",
        )
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    choose_device("cuda")
    if launch.local_size > (count := torch.cuda.device_count()):
        raise SettingsError(
            f"{launch.local_size} processes were started here, but there {'is' if count == 1 else 'are'} {count} GPU"
            f"{'' if count == 1 else 's'}.",
            f"Start at most as many as there are: torchrun --nproc-per-node {count}, or use --device cpu.",
        )
    return torch.device("cuda", launch.local_rank)


def failed_first() -> bool:
    """Whether no other process of the job has asked this before."""
    return bool(PrefixStore("reidtune-failed", _store(seconds=5)).add("count", 1) == 1)


class Processes(Team):
    """The team as one of its processes sees it."""

    def __init__(self, launch: Launch, device: torch.device, store: Store, watch: Watch) -> None:
        self.rank, self.size, self.device = launch.rank, launch.size, device
        self._store = PrefixStore("reidtune", store)
        self._turns = 0
        self._watch = watch

    def exchange(self, tuner: nn.Module, heads: nn.Module) -> DataParallel:
        self.check_equal({"tuner": _digest(tuner), "heads": _digest(heads)})
        self._watch.patience = STEP
        with reached():
            return DataParallel(self, tuner, heads)

    @contextmanager
    def agreed(self) -> Iterator[None]:
        error: ReidtuneError | None = None
        try:
            yield
        except ProcessLost:
            raise
        except ReidtuneError as found:
            error = found
        self._raise_first(error)

    def together(self, items: Iterator[T]) -> Iterator[T]:
        over = object()
        while True:
            item: Any = over
            error: ReidtuneError | None = None
            try:
                item = next(items, over)
            except ReidtuneError as found:
                error = found
            self._raise_first(error)
            if item is over:
                return
            yield item

    @contextmanager
    def first_then_others(self) -> Iterator[None]:
        # Through the store and not a collective, whose patience is shorter than a download may take.
        self._turns += 1
        key = f"turn-{self._turns}"
        if self.rank == 0:
            try:
                yield
            finally:
                self._store.set(key, "over")
            return
        with reached():
            self._store.wait([key], _WAIT_FIRST)
        yield

    def of_first(self, make: Callable[[], T]) -> T:
        found: list[Any] = [None, None]
        if self.rank == 0:
            try:
                found[0] = make()
            except ReidtuneError as error:
                found[1] = error
        with reached():
            dist.broadcast_object_list(found, src=0)
        if found[1] is not None:
            raise found[1]
        value: T = found[0]
        return value

    def largest(self, number: int) -> int:
        value = torch.tensor(number)
        with reached():
            dist.all_reduce(value, dist.ReduceOp.MAX)
        return int(value)

    def rows(self, own: Tensor) -> Tensor:
        shapes = self.objects((tuple(own.shape[1:]), own.dtype, len(own)))
        tail, dtype = next(((tail, dtype) for tail, dtype, count in shapes if count), shapes[0][:2])
        counts = [count for _, _, count in shapes]
        padded = torch.zeros((max(counts), *tail), dtype=dtype)
        if len(own):
            padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in counts]
        with reached():
            dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def objects(self, own: Any) -> list[Any]:
        """A small object of each process."""
        found: list[Any] = [None] * self.size
        with reached():
            dist.all_gather_object(found, own)
        return found

    def check_equal(self, facts: Mapping[str, Any]) -> None:
        first, *others = self.objects(dict(facts))
        for rank, theirs in enumerate(others, start=1):
            for name, value in first.items():
                if theirs.get(name) != value:
                    raise ReidtuneError(
                        f"The {name} of process {rank} is not that of process 0: {theirs.get(name)} and {value}.",
                        "All processes need the same version, data, weights and command.",
                    )

    def wait(self) -> None:
        self.largest(0)

    def _raise_first(self, error: ReidtuneError | None) -> None:
        """Raise the first process's error in all of them, where one has an error."""
        if self.largest(error is not None):
            raise next(found for found in self.objects(error) if found is not None)


def _unheard(number: int) -> None:
    said = f"Stopped by signal {number} while waiting for another process, which does not answer."
    hint = "If the training had begun, its last state is whole: go on with --resume and the folder of the run."
    if speaks_of_failure(said):
        os.write(2, f"{said}\n{hint}\n".encode())


def _digest(module: nn.Module) -> str:
    """What tells two modules with other values apart."""
    found = hashlib.blake2b(digest_size=8)
    for name, value in module.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _store(seconds: float | None = None) -> Store:
    """The store through which torchrun's processes find each other, also where the group is gone."""
    timeout = _WAIT if seconds is None else timedelta(seconds=seconds)
    store, _, _ = next(rendezvous("env://", timeout=timeout))
    found: Store = store
    return found
