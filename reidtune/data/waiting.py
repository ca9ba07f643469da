"""How long a loop waits for its batches, and what to do where that is much of its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from reidtune.data.reading import current
from reidtune.data.workers import cores

MUCH = 0.25  # of the time of a step
LONG = 60.0  # seconds that are still to be waited

T = TypeVar("T")


class Waiting:
    """Measures the epochs of one run; ``say`` is told once where waiting takes :data:`MUCH` of a step, and
    :data:`LONG` seconds of what is left, and more ``workers`` or kept pixels would help."""

    def __init__(self, say: Callable[[str], None], workers: int) -> None:
        self._say, self._workers = say, workers
        self._epochs = 0
        self.waited = self.worked = 0.0

    def through(self, batches: Iterable[T]) -> Iterator[T]:
        """Pass the batches of an epoch on. The first is not counted: processes start with it."""
        self.waited = self.worked = 0.0
        first, begun = True, time.perf_counter()
        for batch in batches:
            given = time.perf_counter()
            yield batch
            asked = time.perf_counter()
            if not first:
                self.waited += given - begun
                self.worked += asked - given
            first, begun = False, asked

    @property
    def share(self) -> float:
        """Of the time of a step, that of waiting for its batch."""
        return self.waited / total if (total := self.waited + self.worked) else 0.0

    def end_of_epoch(self, left: float) -> None:
        """``left`` epochs are to come. That in which pixels are first kept is slower than they, and tells nothing."""
        self._epochs += 1
        kept = current().kept is not None
        if self._epochs < 1 + kept or self.share < MUCH or left * self.waited < LONG:
            return
        ways = []
        if (most := cores()) > self._workers:
            ways.append(f"use --workers {min(most, max(2, 2 * self._workers))} (now {self._workers})")
        if not kept:
            ways.append("keep the images decoded with --set training.image_cache=disk")
        if ways:
            self._say(f"Waiting for images takes {self.share:.0%} of a step: {', or '.join(ways)}.")
            self._say = lambda sentence: None
