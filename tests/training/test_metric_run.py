"""Whole trainings with a metric loss: its vectors learn, come back after a resume, and are in no delta."""

from __future__ import annotations

import pytest
import torch

from reidtune.delta import read_tensors
from reidtune.errors import SettingsError
from reidtune.training.open import open_run
from reidtune.training.state import load_state
from reidtune.training.stop import Interrupted
from tests.training.reporter import InterruptAt, Silent
from tests.training.runs import start


@pytest.fixture
def flags(least):
    return {
        **least,
        "training.steps": 6,
        "training.instances": 2,
        "training.validate_every": 9,
    }


@pytest.mark.parametrize("name", ["arcface", "circle", "center"])
def test_an_interrupted_run_ends_in_the_same_bytes(name, small_world, flags, tmp_path):
    pytest.importorskip("pytorch_metric_learning")
    flags = flags | {"loss.metric": name, "loss.metric_weight": 0.5}
    reporter = Silent()
    start(small_world, flags, tmp_path / "whole", reporter)
    assert reporter.rows[-1]["metric"] > 0
    with pytest.raises(Interrupted):
        start(small_world, flags, tmp_path / "broken", InterruptAt(4))
    state = load_state(tmp_path / "broken")[2]["objective"]
    assert {"arcface": "metric.loss.W", "center": "metric.loss.centers", "circle": ""}[name] in {*state, ""}
    run = open_run(None, None, {}, resume=tmp_path / "broken")
    run.train(run.prepare(), Silent())
    one, two = ((tmp_path / folder / "delta.safetensors").read_bytes() for folder in ("whole", "broken"))
    assert one == two
    assert all(key.startswith("lora.") for key in read_tensors(tmp_path / "whole"))
    plain = start(small_world, flags | {"loss.metric": "none", "loss.metric_weight": "auto"}, tmp_path / "plain")
    ours, without = read_tensors(tmp_path / "whole"), read_tensors(plain["delta"])
    assert not all(torch.equal(value, without[key]) for key, value in ours.items())


def test_vectors_of_identities_are_in_the_optimiser_of_the_heads(small_world, flags, tmp_path):
    pytest.importorskip("pytorch_metric_learning")
    flags = flags | {"loss.metric": "cosface", "optimiser.head_lr_factor": 7.0}
    start(small_world, flags, tmp_path / "run")
    state = load_state(tmp_path / "run")[2]
    heads = next(group for group in state["optimiser"]["param_groups"] if group["scale"] == 7.0)
    assert len(heads["params"]) == 3  # norm, classifier, vectors
    assert state["objective"]["metric.loss.W"].shape == (24, len(state["objective"]["neck.classifier.weight"]))


def test_a_loss_that_is_not_installed_is_said_before_the_data_is_read(flags, tmp_path, monkeypatch):
    monkeypatch.setattr("reidtune.metric_losses.find_spec", lambda name: None)
    run = open_run(str(tmp_path / "nothing"), None, flags | {"loss.metric": "circle"}, output=tmp_path / "run")
    with pytest.raises(SettingsError, match="pytorch-metric-learning, which is not installed"):
        run.prepare()
