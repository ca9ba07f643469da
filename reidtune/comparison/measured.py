"""What was measured of one run, kept in its folder, so that a comparison goes on where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reidtune.delta import find_delta, read_file
from reidtune.errors import ReidtuneError
from reidtune.report.output import write_result
from reidtune.training.loop import Reporter

MEASURED_FILE = "comparison.json"


@dataclass
class Measured:
    """``counted`` are the dry run's numbers, and ``budget`` is what the runs of a seed have alike; ``samples`` were
    trained on in ``seconds`` by ``device`` with so many ``threads``. Of a finished run there are the ``digest`` of its
    delta, ``parameters``, ``bytes`` of its file, the ``validation`` metrics of the chosen epoch, and ``tests``, an
    ``evaluate --json`` object for each dataset."""

    counted: dict[str, int] = field(default_factory=dict)
    budget: dict[str, Any] = field(default_factory=dict)
    samples: float = 0.0
    seconds: float = 0.0
    device: str = ""
    threads: int = 0
    digest: str = ""
    parameters: int = 0
    bytes: int = 0
    validation: dict[str, Any] = field(default_factory=dict)
    tests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return bool(self.tests)

    @property
    def images_per_second(self) -> float | None:
        return self.samples / self.seconds if self.seconds > 0 else None

    def write(self, folder: Path) -> None:
        write_result({"schema": 1, **asdict(self)}, folder / MEASURED_FILE)


def read_measured(folder: Path, hashes: list[str]) -> Measured:
    """What the file in ``folder`` says. The end of a run counts only with the delta it was measured of, and on data
    with these ``hashes``; a file that is no such file says nothing."""
    try:
        content = json.loads((folder / MEASURED_FILE).read_text(encoding="utf-8"))
        content.pop("schema")
        found = Measured(**content)
        same_data = [test["data"]["hash"] for test in found.tests] == hashes
        if same_data and found.digest and read_file(find_delta(folder)).header.digest == found.digest:
            return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ReidtuneError):
        return Measured()
    found.tests = []
    return found


class Watch:
    """A reporter that passes on what it is told and counts samples and seconds: all the time from the start, or from
    the end of an epoch, to a step, or from step to step. So reading images counts, and what is computed once for the
    whole run, and validation does not."""

    def __init__(
        self,
        reporter: Reporter,
        measured: Measured,
        samples_per_step: float,
        keep: Callable[[], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reporter, self._measured, self._keep, self._clock = reporter, measured, keep, clock
        self._samples = samples_per_step
        self._last = clock()

    def start(self, done: int, steps: int) -> None:
        self._reporter.start(done, steps)
        self._last = self._clock()

    def step(self, step: int, loss: float) -> None:
        now = self._clock()
        self._measured.seconds += now - self._last
        self._measured.samples += self._samples
        self._last = now
        self._reporter.step(step, loss)

    def epoch(self, row: dict[str, Any]) -> None:
        self._reporter.epoch(row)
        if row["epoch"]:
            self._keep()
        self._last = self._clock()
