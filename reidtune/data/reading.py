"""How images are read within a run: workers that stay, pixels that are kept, the device that batches go to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from reidtune.data.kept_pixels import KeptPixels
from reidtune.data.workers import Job, Workers, told_in_words


class Reading:
    """What all loaders within :func:`reading` share. ``device`` is where batches go, ``kept`` holds squashed images,
    and ``say`` is told a sentence where they can be kept no longer."""

    def __init__(
        self,
        device: torch.device | None = None,
        kept: KeptPixels | None = None,
        say: Callable[[str], None] = lambda sentence: None,
        stay: bool = True,
    ) -> None:
        self.device, self.kept, self._say = device, kept, say
        self._stay = stay
        self._workers: Workers | None = None

    def run(self, jobs: Iterable[Job], workers: int, count: int) -> Iterator[Any]:
        """The results of ``count`` jobs from that many processes, the same ones every time; from others where these are
        at work for somebody else."""
        if not workers or not self._stay or (self._workers is not None and self._workers.busy):
            passing = Workers(min(workers, count))
            try:
                yield from passing.run(jobs)
            finally:
                passing.close()
            return
        if self._workers is None or self._workers.count != workers:
            self.close()
            self._workers = Workers(workers)
        yield from self._workers.run(jobs)

    def give_up(self, reason: str) -> None:
        """Keep pixels no longer, and make room again: a full disk must not stop the run itself."""
        if self.kept is not None:
            self.kept.remove()
            self._say(
                f"Images are no longer kept in {self.kept.path.parent} ({reason}): they are decoded in every epoch. "
                "The results are the same."
            )
            self.kept = None

    def close(self) -> None:
        if self._workers is not None:
            self._workers.close()
            self._workers = None


_now = Reading(stay=False)


def current() -> Reading:
    """The innermost :func:`reading`; outside of all, one whose workers end with each pass."""
    return _now


@contextlib.contextmanager
def reading(
    device: torch.device | None = None,
    kept: KeptPixels | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Iterator[Reading]:
    """Within, all loaders share worker processes and kept pixels, and their batches are on ``device``.

    Raises:
        ReidtuneError: a worker process ended unexpectedly, whatever was being done at that time.
    """
    global _now
    before, _now = _now, Reading(device, kept, say)
    try:
        with told_in_words():
            yield _now
    finally:
        _now.close()
        _now = before
