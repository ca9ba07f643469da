"""The work of a comparison: the backbone alone, what each row costs, then run after run, seed by seed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from reidtune.comparison.content import content_of
from reidtune.comparison.measured import Measured, read_measured
from reidtune.comparison.one_run import Counting, Say, count, evaluate, train_and_test
from reidtune.comparison.rows import BASELINE, Row
from reidtune.comparison.settings import Settings
from reidtune.data.record import Dataset
from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.report.comparison_files import JSON_FILE, write_comparison
from reidtune.report.output import write_result
from reidtune.training.loop import Reporter
from reidtune.training.prepare import Prepared
from reidtune.training.stop import Interrupted

BASELINE_FILE = f"{BASELINE}.json"
Key = tuple[str, int]  # a row's name and a seed


@dataclass
class Work:
    """See :func:`reidtune.comparison.compare.compare`; ``tests`` are the datasets to evaluate on, by name."""

    settings: Settings
    rows: Sequence[Row]
    seeds: Sequence[int]
    output: Path
    tests: Mapping[str, Dataset]
    anew: bool
    say: Say
    reporter: Callable[[], AbstractContextManager[Reporter]]
    counting: Counting
    baseline: list[dict[str, Any]] = field(default_factory=list)
    measured: dict[Key, Measured] = field(default_factory=dict)
    problems: dict[Key, tuple[str, str]] = field(default_factory=dict)  # message and hint

    def check(self) -> None:
        """Raise :class:`SettingsError` where settings are wrong or are not those of the runs that are there, or the
        output folder is in use by something else. Nothing is written."""
        for row in self.rows:
            self.settings.open(row, self.seeds[0], self.output)
        if self.anew or not self.output.exists():
            return
        known = any((self.output / name).is_file() for name in (JSON_FILE, BASELINE_FILE))
        if not self.output.is_dir() or (any(self.output.iterdir()) and not known):
            raise SettingsError(
                f"The output folder {self.output} is not empty, and holds no comparison.",
                "Choose another --output, or write there all the same with --force.",
            )
        before = _data_of(self.output / JSON_FILE)
        if before not in (None, self.settings.dataset.manifest()["hash"]):
            raise SettingsError(
                f"The data is not the one that the comparison in {self.output} was started on.",
                "Compare into another --output, or begin anew with --force.",
            )
        changed: dict[str, list[str]] = {}
        for row in self.rows:
            for seed in self.seeds:
                for name in self.settings.changed(row, seed, self.output / row.folder(seed)):
                    changed.setdefault(name, []).append(row.name)
        if changed:
            told = [f"{name} (of {', '.join(dict.fromkeys(names))})" for name, names in changed.items()]
            raise SettingsError(
                f"The comparison in {self.output} keeps its settings, but these changed: {'; '.join(told)}.",
                "Compare with the settings of before, or into another --output, or begin anew with --force.",
            )

    def do(self) -> dict[str, Any]:
        """Do what is not done yet. ``compare.json`` is written after every run, the other files in the end, also in
        that of an interruption."""
        hashes = [test.manifest()["hash"] for test in self.tests.values()]
        for row, seed in self.runs():
            folder = self.output / row.folder(seed)
            self.measured[row.name, seed] = Measured() if self.anew else read_measured(folder, hashes)
        self._compare_with_nothing(hashes)
        try:
            for row in self.rows:
                self._count(row)
            left = [(row, seed) for row, seed in self.runs() if not self._is_settled(row, seed)]
            for place, (row, seed) in enumerate(left, 1):
                self.say(f"Run {place} of {len(left)}: {row.name}, seed {seed}.")
                self._attempt(row, (seed,), partial(self._train, row, seed))
                write_result(content_of(self), self.output / JSON_FILE)
        finally:
            write_comparison(content_of(self), self.output)
        return content_of(self)

    def runs(self) -> list[tuple[Row, int]]:
        """Seed by seed, so that a comparison that is stopped has all rows."""
        return [(row, seed) for seed in self.seeds for row in self.rows]

    def _is_settled(self, row: Row, seed: int) -> bool:
        return self.measured[row.name, seed].finished or (row.name, seed) in self.problems

    def _compare_with_nothing(self, hashes: list[str]) -> None:
        """Evaluate the backbone alone, unless that was done."""
        path = self.output / BASELINE_FILE
        shared = self.settings.shared
        chosen = json.loads(json.dumps({name: shared[name] for name in shared if name.startswith("backbone.")}))
        try:
            content = {} if self.anew else json.loads(path.read_text(encoding="utf-8"))
            if content.get("settings") == chosen and [one["data"]["hash"] for one in content["tests"]] == hashes:
                self.baseline = content["tests"]
                return
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        self.say(f"The backbone alone ({BASELINE}).")
        self.baseline = evaluate(self.settings, None, list(self.tests.values()), self.say, self.counting)
        write_result({"schema": 1, "settings": chosen, "tests": self.baseline}, path)

    def _count(self, row: Row) -> None:
        """What the row costs, counted once, with the first seed; so it shows early whether it can be trained."""
        mine = [self.measured[row.name, seed] for seed in self.seeds]
        counted = next((one.counted for one in mine if one.counted), {})

        def work() -> None:
            seed = self.seeds[0]
            counted.update(count(self.settings, row, seed, self.output / row.folder(seed)))

        if not counted:
            self._attempt(row, self.seeds, work)
        for one in mine:
            one.counted = dict(counted)

    def _train(self, row: Row, seed: int) -> None:
        measured = self.measured[row.name, seed]

        def check(prepared: Prepared) -> None:
            self._check_alike(prepared, measured, seed)

        train_and_test(
            self.settings,
            row,
            seed,
            self.output / row.folder(seed),
            measured,
            list(self.tests.values()),
            check=check,
            anew=self.anew,
            say=self.say,
            reporter=self.reporter,
            counting=self.counting,
        )

    def _check_alike(self, prepared: Prepared, measured: Measured, seed: int) -> None:
        """Raise where the comparison would not be fair."""
        digest, before = prepared.model.backbone.fingerprint["digest"], self.baseline[0]["backbone"]["fingerprint"]
        if digest != before:
            raise ReidtuneError(
                f"The backbone ({digest[:12]}) is not the one of the row {BASELINE} ({before[:12]}).",
                "Compare anew with --force.",
            )
        for row in self.rows:
            other = self.measured[row.name, seed].budget
            if other and other != measured.budget:
                told = ", ".join(f"{name} {measured.budget[name]} and {value}" for name, value in other.items())
                raise ReidtuneError(f"Its budget is not that of {row.name}: {told}.", "Give the length as --steps.")

    def _attempt(self, row: Row, seeds: Sequence[int], work: Callable[[], None]) -> None:
        """Do the work; what goes wrong with this row alone is kept, and the others go on."""
        try:
            work()
            return
        except (Interrupted, DataError):  # bad data is bad for all rows
            raise
        except ReidtuneError as error:
            problem = (error.message, error.hint)
        except Exception as error:
            if os.environ.get("REIDTUNE_DEBUG", "") not in {"", "0"}:
                raise
            problem = (f"{type(error).__name__}: {error}", "REIDTUNE_DEBUG=1 before the command shows where.")
        self.say(f"{row.name} failed: {problem[0]}")
        for seed in seeds:
            self.problems[row.name, seed] = problem


def _data_of(path: Path) -> str | None:
    """The hash of the data that a ``compare.json`` is of; ``None`` where it says nothing."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["data"]["hash"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
