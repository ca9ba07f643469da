"""Trainings as the tests of this room run them."""

from reidtune.training.open import open_run
from tests.training.reporter import Silent


def start(world, flags, output, reporter=None, **options):
    run = open_run(str(world), None, flags, output=output, **options)
    return run.train(run.prepare(), reporter or Silent())


def go_on(output, flags=None, reporter=None, source=None):
    run = open_run(source, None, flags or {}, resume=output)
    return run.train(run.prepare(), reporter or Silent())


def files(run):
    return {name: (run / name).read_bytes() for name in ("delta.safetensors", "metrics.csv", "recipe.toml")}
