"""kill -9, in real processes, at any moment: whoever resumes gets the very bytes of the uninterrupted run."""

import random

import pytest
import torch

from reidtune.training.state import load_state
from tests.training.killing import Server

MOMENTS = 10  # random ones, for each method


@pytest.fixture(scope="module", params=["lora", "staged"])
def server(request, small_world, small_backbone):
    flags = {
        "method": request.param,
        "backbone.name": f"local-dir:{small_backbone.architecture.folder}",
        "backbone.image_size": "32x16",
        "optimiser.lr": 3e-3,
        "training.steps": 6,
        "training.batch_size": 8,
        "training.workers": 0,
        "training.validate_every": 1,
        "data.validation_fraction": 0.3,
        "loss.metric": "center",  # its centres move in the forward pass
    }
    server = Server(world=str(small_world), flags=flags)
    yield server
    server.close()


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """An uninterrupted run: its folder, and what it took."""
    run = tmp_path_factory.mktemp("whole") / "run"
    took = server(run)
    assert took["code"] == 0
    return run, took


def results(run):
    return {name: (run / name).read_bytes() for name in ("delta.safetensors", "metrics.csv", "recipe.toml")}


def finish(server, run, whole):
    """Go on with a killed run, and compare everything."""
    assert server(run)["code"] == 0
    assert results(run) == results(whole[0])
    assert not [path for path in run.rglob("*") if "partial" in path.name]
    (progress, identity, modules), (other, same, others) = load_state(run), load_state(whole[0])
    assert (progress, identity) == (other, same)
    for name in ("tuner", "objective"):
        assert modules[name].keys() == others[name].keys()
        assert all(torch.equal(value, others[name][key]) for key, value in modules[name].items())


def test_killed_after_random_times(server, whole, tmp_path):
    chosen = random.Random(1)
    for moment in range(MOMENTS // 2):
        run = tmp_path / str(moment)
        server(run, seconds=chosen.uniform(0.05, 0.95) * whole[1]["seconds"])  # it may be done before
        finish(server, run, whole)


def test_killed_around_random_operations_on_files(server, whole, tmp_path):
    chosen = random.Random(2)
    count = len(whole[1]["operations"])
    for moment in range(MOMENTS // 2):
        run, at, when = tmp_path / str(moment), chosen.randrange(count), chosen.choice(["before", "after"])
        assert server(run, at=at, when=when)["code"] == -9, (at, when)
        finish(server, run, whole)


def test_killed_again_and_again(server, whole, tmp_path):
    run, chosen = tmp_path / "run", random.Random(3)
    codes = [server(run, at=chosen.randrange(30))["code"] for _ in range(4)]
    assert codes.count(-9) >= 2
    finish(server, run, whole)


def test_killed_between_the_last_state_and_the_last_name(server, whole, tmp_path):
    operations = whole[1]["operations"]
    last = max(place for place, name in enumerate(operations[:-6]) if name == "replace")
    for when in ("before", "after"):
        run = tmp_path / when
        assert server(run, at=last, when=when)["code"] == -9
        assert (run / "delta.safetensors").exists() is (when == "after")
        assert load_state(run)[0].step == 6
        finish(server, run, whole)


@pytest.mark.parametrize("state", [0, 1, 4])
def test_killed_while_a_state_is_half_written(server, whole, tmp_path, state):
    run = tmp_path / "run"
    assert server(run, torn=state)["code"] == -9
    partial = [path for path in (run / "state").iterdir() if "partial" in path.name]
    assert len(partial) == 1
    assert (run / "state" / "last.pt").exists() is (state > 0)
    finish(server, run, whole)
