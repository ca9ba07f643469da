"""Comparing methods: the same data, budget and seeds for each, every run an ordinary run folder."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from reidtune.comparison.one_run import Counting, Say
from reidtune.comparison.rows import find_rows
from reidtune.comparison.settings import settle
from reidtune.comparison.work import Work
from reidtune.data import open_dataset, require_split
from reidtune.data.join import columns_for, layouts_for, open_datasets
from reidtune.data.open import DEMOS
from reidtune.data.record import Dataset
from reidtune.errors import DataError, SettingsError
from reidtune.training.loop import Reporter
from reidtune.training.stop import Interrupted, StopNow, stop_signals

SEEDS = (1, 2, 3)


def compare(
    sources: Sequence[str],
    methods: Sequence[str] = (),
    recipes: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    flags: Mapping[str, Any] | None = None,
    *,
    output: Path | None = None,
    force: bool = False,
    again: str = "the same command",
    say: Say = lambda sentence: None,
    reporter: Callable[[], AbstractContextManager[Reporter]],
    counting: Counting,
) -> dict[str, Any]:
    """Train every row with every seed on ``sources`` (several are joined), evaluate each delta on the test split of
    each of them, and return what ``compare --json`` prints, which is in ``output/compare.json``, too.

    ``methods`` and ``recipes`` are rows as :func:`reidtune.comparison.rows.find_rows` reads them; ``flags`` are
    settings for all, by dotted name. The sections backbone, data and training are the same for all rows: what ``flags``
    leave open of them is the first row's. Runs that an earlier call finished in ``output`` are taken as they are, and
    unfinished ones go on; ``force`` begins anew. A row that cannot be trained is told in the result, and the others go
    on. ``again`` is what an interrupted comparison says to go on with.

    Raises:
        SettingsError: settings, rows or seeds are wrong, ``output`` holds something else, or an earlier run with other
            settings. DataError: the data is missing or bad. Interrupted: Ctrl-C or SIGTERM.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise SettingsError(f"The seeds are {', '.join(map(str, seeds)) or 'none'}.", "Give one or more, each once.")
    given = dict(flags or {})
    layout, protocol, columns = (given.get(f"data.{name}") for name in ("layout", "protocol", "columns"))
    dataset = open_datasets(sources, layout, protocol, columns)
    require_split(dataset, "train")
    rows = find_rows(methods, recipes, dataset.task)
    settings = settle(sources, dataset, given, rows, seeds[0])
    tests = (
        {_name(sources[0]): dataset} if len(sources) == 1 else _opened(sources, layout, protocol, columns or {}, say)
    )
    for test in tests.values():
        require_split(test, "test")
    work = Work(
        settings,
        rows,
        seeds,
        output or Path("runs") / f"compare-{settings.data_name}",
        tests,
        anew=force,
        say=say,
        reporter=reporter,
        counting=counting,
    )
    work.check()
    try:
        with stop_signals() as stop, stop.at_once():  # a training saves its state first
            return work.do()
    except KeyboardInterrupt as now:
        number = now.number if isinstance(now, StopNow) else signal.SIGINT
        raise Interrupted(f"Interrupted; what is done is in {work.output}.", f"Go on with: {again}", number) from None
    except Interrupted as told:
        raise Interrupted(told.message, f"Go on with: {again}", told.number) from told
    except DataError as error:
        raise DataError(error.message, "\n".join(filter(None, [error.hint, f"Then go on with: {again}"]))) from error


def _opened(
    sources: Sequence[str], layout: str | None, protocol: str | None, columns: Mapping[str, str], say: Say
) -> dict[str, Dataset]:
    """The datasets of a join that have a test split, by name; a delta is tested on each. The first must have one."""
    found: dict[str, Dataset] = {}
    layouts, mappings = layouts_for(layout, len(sources)), columns_for(sources, layout, columns)
    for place, (source, own, mapping) in enumerate(zip(sources, layouts, mappings, strict=True), 1):
        test = open_dataset(source, own, protocol, mapping or None)
        name = _name(source)
        if place > 1 and not (test.query and test.gallery):
            say(f"{name} has no test split: it is trained on alone.")
            continue
        found[name if name not in found else f"{name} [{place}]"] = test
    return found


def _name(source: str) -> str:
    return source if source in DEMOS else Path(source).expanduser().resolve().name
