"""Comparing, and looking at what came of it."""

import contextlib
from pathlib import Path

from reidtune.comparison.compare import compare
from tests.training.reporter import Silent

STEPS = 4


class Steps(Silent):
    """Counts the steps of all trainings."""

    def __init__(self):
        super().__init__()
        self.starts = []

    def start(self, done, steps):
        super().start(done, steps)
        self.starts.append((done, steps))


def call(world, flags, output, methods=("lora", "vpt"), seeds=(1, 2), *, reporter=None, said=None, **options):
    sources = [str(world)] if isinstance(world, str | Path) else [*map(str, world)]
    told = reporter or Steps()
    return compare(
        sources,
        methods,
        options.pop("recipes", ()),
        seeds,
        flags,
        output=output,
        say=(lambda sentence: None) if said is None else said.append,
        reporter=lambda: contextlib.nullcontext(told),
        counting=lambda: contextlib.nullcontext(lambda done, total: None),
        **options,
    )


def by_name(result):
    return {row["name"]: row for row in result["rows"]}


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
