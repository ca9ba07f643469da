"""Processes that read images, where there are some; they stay between epochs, so that each is started once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from reidtune.errors import ReidtuneError, SettingsError

AHEAD = 2  # batches that each worker reads before they are asked for
MOST = 8  # workers that nobody asked for
_GRACE = 120  # seconds from SIGTERM to the end of a worker that is still there
Job = Callable[[], Any]


def choose_workers(wanted: int | None, device: torch.device) -> int:
    """``wanted``, or where that is ``None``: none on the CPU, whose cores the model needs all, else one for each core
    but one, at most :data:`MOST`. Processes of one job on one machine (``LOCAL_WORLD_SIZE``) share the cores."""
    if wanted is not None:
        return wanted
    return 0 if device.type == "cpu" else min(MOST, cores() - 1)


def cores() -> int:
    """Processor cores that this process may use, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, count // max(1, int(processes))) if processes.isdecimal() else count


class Workers:
    """``count`` processes that call jobs (which must be picklable) and hand back the results in order; none where
    ``count`` is 0. Each is ahead by at most :data:`AHEAD` jobs: that bounds the memory. They start with the first job
    and stay until :meth:`close`."""

    def __init__(self, count: int) -> None:
        if count < 0:
            raise SettingsError(f"The number of workers is {count}.", "Choose 0 (none) or more.")
        self.count, self.busy = count, False
        self._queue = _Queue()
        self._loader: DataLoader[Any] | None = None

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        """The results of ``jobs``; jobs that were begun when this is left early are thrown away.

        Raises:
            ReidtuneError: a process ended unexpectedly; the others are ended.
        """
        if not self.count:
            for job in jobs:
                yield job()
            return
        self._queue.jobs = jobs
        self.busy = True
        try:
            with told_in_words(ConnectionError, EOFError, FileNotFoundError):  # of a socket to a worker that is gone
                yield from self._results()
        except ReidtuneError:
            self.close()
            raise
        finally:
            self.busy = False

    def close(self) -> None:
        """End the processes, also where a pass is not at its end or the traceback of an error holds it."""
        iterator, self._loader = getattr(self._loader, "_iterator", None), None
        if iterator is not None:
            with contextlib.suppress(RuntimeError):  # torch's, once more, of a process that was killed
                iterator._shutdown_workers()

    def _results(self) -> Iterator[Any]:
        """Torch handles the end of a worker by an error wherever the main process is, as in the middle of writing a
        file. Here that may be only while a batch is waited for."""
        before = _handler()
        self._refuse_dead()  # it would be waited for
        iterator = iter(self._started())
        if before is not None and _handler() is not before:
            _torchs.append(_handler())
        while True:
            self._refuse_dead()
            _handle(before, _torchs[-1] if _torchs else before)
            try:
                result = next(iterator)
            except StopIteration:
                return
            finally:
                _handle(before, before)
            yield result

    def _refuse_dead(self) -> None:
        started = getattr(getattr(self._loader, "_iterator", None), "_workers", ())
        if not all(process.is_alive() for process in started):
            raise RuntimeError("A DataLoader worker has ended.")

    def _started(self) -> DataLoader[Any]:
        if self._loader is None:
            self._loader = DataLoader(
                _Calls(),
                batch_size=None,
                sampler=self._queue,
                num_workers=self.count,
                collate_fn=_same,
                prefetch_factor=AHEAD,
                persistent_workers=True,
                worker_init_fn=_start_worker,
                generator=torch.Generator(),  # else every pass would draw from torch's own, and a resumed run differ
            )
        return self._loader


@contextlib.contextmanager
def told_in_words(*others: type[Exception]) -> Iterator[None]:
    """Torch raises where a worker process ended, in whatever the main process is doing; within, it is said plainly, and
    so are errors of the ``others``."""
    try:
        yield
    except Exception as error:
        of_torch = isinstance(error, RuntimeError) and "DataLoader worker" in str(error)
        if not (of_torch or isinstance(error, others)):
            raise
        raise ReidtuneError(
            "A process that reads images ended unexpectedly, most likely for want of memory or shared memory.",
            "Use fewer workers (0 reads the images in the main process), or a smaller batch.",
        ) from error


_torchs: list[Any] = []  # its handler of SIGCHLD, which it sets once


def _handler() -> Any:
    main = threading.current_thread() is threading.main_thread()
    return signal.getsignal(signal.SIGCHLD) if main and hasattr(signal, "SIGCHLD") else None


def _handle(before: Any, handler: Any) -> None:
    if before is not None:  # the main thread, on a system that has the signal
        signal.signal(signal.SIGCHLD, handler)


class _Queue(Sampler[Any]):
    """The jobs of the pass in hand."""

    def __init__(self) -> None:
        self.jobs: Iterable[Job] = ()

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)


class _Calls(TorchDataset[Any]):
    def __getitem__(self, job: Job) -> Any:
        return job()


def _same(result: Any) -> Any:
    return result


def _start_worker(_: int) -> None:
    """Leave Ctrl-C and SIGTERM to the main process, which finishes its step first and then ends the workers. Both may
    be sent to a whole group of processes (by a terminal, timeout, Slurm); a worker that nobody ends leaves by itself
    after a while."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _leave_later)


def _leave_later(number: int, frame: FrameType | None) -> None:
    signal.alarm(_GRACE)
