"""Whole trainings by two processes: the delta, the table and the metrics of one, a stop they agree on, bad files."""

import functools
import shutil
import signal

import pytest

from reidtune.delta import read_tensors
from reidtune.errors import DataError, ReidtuneError
from reidtune.team import ALONE
from reidtune.training.open import open_run
from reidtune.training.state import load_state
from reidtune.training.stop import Interrupted
from tests.training.processes import several
from tests.training.reporter import InterruptAt, Silent

# With a large eps the step of a tensor is no ratio of two numbers that are nothing but rounding.
COMMON = {
    "backbone.name": "tiny",
    "optimiser.eps": 1e-3,
    "optimiser.warmup_epochs": 0.0,
    "training.workers": 0,
    "data.validation_fraction": 0.3,
}
RUNS = {
    "image": {
        "method": "lora",
        "settings.dropout": 0.1,
        "loss.triplet_features": "unit",
        "training.batch_size": 8,
        "training.steps": 10,
    },
    "parts": {
        "method": "adapter",
        "training.batch_size": 9,
        "training.instances": 3,
        "training.micro_batch": 2,
        "training.steps": 4,
    },
    "stages": {"method": "clip-reid", "settings.tune": "lora", "training.batch_size": 8, "training.steps": 6},
    "rows": {
        "method": "adapter",
        "settings.blocks": 2,
        "training.batch_size": 8,
        "training.steps": 12,
        **{f"augmentation.{name}": 0 for name in ("flip", "pad", "erase")},
    },
    "text": {"method": "dm-adapter", "training.batch_size": 7, "optimiser.clip_norm": 0.5, "training.steps": 4},
}
BROKEN = "0003_c3s1_000367_04.jpg"


def trained(world, name, output, team=ALONE, reporter=None, **options):
    run = open_run(str(world), None, {**COMMON, **RUNS[name]}, output=output, force=not team.writes, **options)
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
    found["resumed"] = resumed(folder / "begun", team)
    return found


def resumed(output, team=ALONE):
    run = open_run(None, None, {}, resume=output)
    run.team = team
    return run.train(run.prepare(), Silent())


@pytest.fixture(scope="module")
def broken_world(small_world, tmp_path_factory):
    """A world with an image whose header is whole and whose pixels are not: it is found while training."""
    folder = tmp_path_factory.mktemp("broken") / "image"
    shutil.copytree(small_world, folder)
    path = folder / "bounding_box_train" / BROKEN
    path.write_bytes(path.read_bytes()[:-400])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def found(folder, small_world, text_world, broken_world):
    begun = InterruptAt(5)
    assert error_of(lambda: trained(small_world, "image", folder / "begun", reporter=begun))[0] is Interrupted
    return several(2, functools.partial(work, folder, small_world, text_world, broken_world), folder)


def difference(one, two):
    """The largest between the tensors of two runs' deltas."""
    a, b = (read_tensors(run / "delta.safetensors") for run in (one, two))
    assert list(a) == list(b)
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_leave_the_delta_of_one(found, folder, small_world, text_world, name, tmp_path):
    alone = trained(text_world if name == "text" else small_world, name, tmp_path / "one")
    assert difference(tmp_path / "one", folder / name) <= 1e-5
    assert alone["metrics"] == found[0][name]["metrics"] == found[1][name]["metrics"]
    table, other = ((place / "metrics.csv").read_text() for place in (tmp_path / "one", folder / name))
    assert table.splitlines()[:2] == other.splitlines()[:2]  # before training: the very same features
    assert load_state(folder / name)[0].frozen == (name in ("stages", "rows"))
    assert found[0][name]["bytes"] == found[1][name]["bytes"] == (folder / name / "delta.safetensors").stat().st_size


def test_a_signal_to_one_process_stops_both_at_the_same_step_and_one_process_goes_on(
    found, folder, small_world, tmp_path
):
    kinds, messages, numbers = zip(*(one["stop"] for one in found), strict=True)
    assert set(kinds) == {Interrupted}
    assert set(numbers) == {signal.SIGTERM}
    assert messages[0] == messages[1]
    assert "at step 3 of" in messages[0]
    assert load_state(folder / "stop")[0].step == 3
    resumed(folder / "stop")
    trained(small_world, "image", tmp_path / "one")
    assert difference(tmp_path / "one", folder / "stop") <= 1e-5


def test_two_processes_go_on_where_one_stopped(found, folder, small_world, tmp_path):
    trained(small_world, "image", tmp_path / "one")
    assert difference(tmp_path / "one", folder / "begun") <= 1e-5


def test_a_broken_image_of_one_process_stops_both_with_its_name(found, folder):
    assert [one["broken"][0] for one in found] == [DataError, DataError]
    assert found[0]["broken"] == found[1]["broken"]
    assert BROKEN in found[0]["broken"][1]
    assert not load_state(folder / "broken")[0].finished


def test_one_process_writes(found, folder):
    left = {path.name for path in (folder / "image").rglob("*") if path.is_file()}
    assert left == {"delta.safetensors", "environment.json", "last.pt", "metrics.csv", "recipe.toml"}
