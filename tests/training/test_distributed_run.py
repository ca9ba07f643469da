"""Whole trainings by two processes: the delta, the table and the metrics of one, a stop they agree on, bad files."""

import functools
import signal
import time

import pytest
import torch

from reidtune.delta import read_tensors
from reidtune.errors import DataError, ReidtuneError
from reidtune.team import ALONE
from reidtune.training.run import open_run
from reidtune.training.stop import Interrupted
from tests.training.processes import several
from tests.training.reporter import InterruptAt, Silent

# With a large eps the step of a tensor is no ratio of two numbers that are nothing but rounding.
COMMON = {"backbone.name": "tiny", "optimiser.eps": 1e-3, "optimiser.warmup_epochs": 0.0, "training.workers": 0}
RUNS = {
    "image": {"method": "lora", "settings.dropout": 0.1, "training.batch_size": 8, "training.epochs": 2},
    "parts": {"method": "adapter", "training.batch_size": 9, "training.instances": 3, "training.micro_batch": 2},
    "stages": {"method": "clip-reid", "settings.tune": "lora", "training.batch_size": 8, "training.epochs": 3},
    "text": {"method": "dm-adapter", "training.batch_size": 7, "optimiser.clip_norm": 0.5},
}
STEPS = {"parts": 4, "text": 4}


def flags(name):
    return {**COMMON, "data.validation_fraction": 0.3, **({"training.steps": STEPS[name]} if name in STEPS else {})} | RUNS[name]


def trained(world, name, output, team=ALONE, reporter=None, **options):
    run = open_run(str(world), None, flags(name), output=output, force=not team.writes, **options)
    run.team = team
    return run.train(run.prepare(), reporter or Silent())


def error_of(work):
    try:
        work()
    except ReidtuneError as error:
        return type(error), error.message, getattr(error, "number", None)


def work(folder, image, text, broken, team):
    """All that two processes do; the tests look at what it leaves."""
    found = {}
    for name in RUNS:
        found[name] = trained(text if name == "text" else image, name, folder / name, team)
    # Of a signal only one process hears.
    found["stop"] = error_of(
        lambda: trained(image, "image", folder / "stop", team, InterruptAt(3 if team.rank else 99, signal.SIGTERM))
    )
    found["broken"] = error_of(lambda: trained(broken, "image", folder / "broken", team))
    return found


@pytest.fixture(scope="module")
def text_world(tmp_path_factory):
    from reidtune.demo.world import render_world

    folder = tmp_path_factory.mktemp("text-world")
    render_world(folder, identities=14, kinds=("text",))
    return folder / "text"


@pytest.fixture(scope="module")
def broken_world(small_world, tmp_path_factory):
    """A world with an image whose header is whole and whose pixels are not: it is found while training."""
    import shutil

    folder = tmp_path_factory.mktemp("broken") / "image"
    shutil.copytree(small_world, folder)
    path = sorted((folder / "bounding_box_train").glob("*.jpg"))[0]
    path.write_bytes(path.read_bytes()[:-400])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def found(folder, small_world, text_world, broken_world):
    return several(2, functools.partial(work, folder, small_world, text_world, broken_world), folder)


def close(one, other):
    assert list(one) == list(other)
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_leave_the_delta_of_one(found, folder, small_world, text_world, name, tmp_path):
    alone = trained(text_world if name == "text" else small_world, name, tmp_path / "one")
    one, two = (read_tensors(place / "delta.safetensors") for place in (tmp_path / "one", folder / name))
    assert close(one, two) <= 1e-5
    assert alone["metrics"] == found[0][name]["metrics"] == found[1][name]["metrics"]
    table, other = ((place / "metrics.csv").read_text() for place in (tmp_path / "one", folder / name))
    assert table.splitlines()[:2] == other.splitlines()[:2]  # before training: the very same features
    assert found[0][name]["bytes"] == found[1][name]["bytes"] == (folder / name / "delta.safetensors").stat().st_size
