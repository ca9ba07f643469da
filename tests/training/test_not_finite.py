"""A loss or a gradient that is not finite: the tuner is never spoilt, and the user learns everything."""

import dataclasses
import json
import math

import pytest
import torch

from reidtune.delta import read_tensors
from reidtune.errors import ReidtuneError
from reidtune.training import loop
from reidtune.training.not_finite import BAD_BATCH, LAST_GOOD, measure
from reidtune.training.state import load_state
from tests.training.reporter import Silent
from tests.training.runs import files, go_on, start

BAD = 11  # the step that fails, of epochs of 8


def spoil(monkeypatch, how):
    """``how(done)`` changes what the forward pass of step ``BAD`` gives."""
    real, calls = loop.forward, []

    def forward(*args, **kwargs):
        done = real(*args, **kwargs)
        calls.append(1)
        return how(done) if len(calls) == BAD else done

    monkeypatch.setattr(loop, "forward", forward)


def bad_loss(done):
    spoilt = done.parts["triplet"] * math.nan
    return dataclasses.replace(done, loss=done.loss + spoilt, parts={**done.parts, "triplet": spoilt})


def bad_gradient(value):
    def spoilt(done):
        def backward():
            done.backward()
            trained = [tensor for tensor in REMEMBERED[0].parameters() if tensor.grad is not None]
            trained[0].grad[0] = value

        return dataclasses.replace(done, backward=backward)

    return spoilt


REMEMBERED = []


def failed(world, settings, run):
    from reidtune.training.open import open_run

    opened = open_run(str(world), None, settings, output=run)
    prepared = opened.prepare()
    REMEMBERED[:] = [prepared.model.tuner]
    with pytest.raises(ReidtuneError) as error:
        opened.train(prepared, Silent())
    return error.value, prepared


def test_a_loss_that_is_not_finite_says_everything_and_spoils_nothing(
    small_world,
    flags,
    whole,
    tmp_path,
    monkeypatch,
):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoil(patch, bad_loss)
        error, prepared = failed(small_world, flags, run)
    assert "The loss became nan in triplet (identity " in error.message
    assert f"at step {BAD} (epoch 2, learning rate 0.00" in error.message
    assert "and 5 more (all in" in error.message
    assert f"the state before it is saved in {run}" in error.message
    assert "repeats this very step" in error.hint
    assert f"--resume {run}" in error.hint

    told = json.loads((run / BAD_BATCH).read_text())
    assert (told["step"], told["epoch"], told["loss"], told["parts"]["triplet"]) == (BAD, 2, "nan", "nan")
    assert math.isfinite(told["parts"]["identity"])
    assert len(told["samples"]) == 8
    for sample in told["samples"]:
        record = prepared.train[sample["index"]]
        assert sample["files"] == [str(record.path)]
        assert sample["identity"] == record.identity
    assert told["samples"][0]["files"][0] in error.message

    progress, _, modules = load_state(run)
    assert progress.step == BAD - 1
    assert all(torch.equal(modules["tuner"][name], value) for name, value in read_tensors(run / LAST_GOOD).items())
    go_on(run)  # repeats the step
    assert files(run) == files(whole[1])
    assert not (run / BAD_BATCH).exists()
    assert not (run / LAST_GOOD).exists()


def test_the_run_that_is_proposed_begins_with_the_last_good_delta(small_world, flags, tmp_path, monkeypatch):
    import shlex

    from reidtune.cli.app import run as command

    with monkeypatch.context() as patch:
        spoil(patch, bad_loss)
        error, _ = failed(small_world, flags, tmp_path / "run")
    proposed = shlex.split(error.hint.splitlines()[0].partition(": ")[2])
    assert proposed[0] == "reidtune"
    assert command([*proposed[1:], "--steps=1", "--set", "training.epochs=1"]) == 0
    again = tmp_path / "run-lower"
    assert "lr = 0.001" in (again / "recipe.toml").read_text()


@pytest.mark.parametrize("clip", [1.0, "none"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_no_step(small_world, flags, tmp_path, monkeypatch, clip, value):
    settings = {**flags, "optimiser.clip_norm": clip, "loss.metric": "center", "training.epochs": 2}
    start(small_world, settings, tmp_path / "whole")
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoil(patch, bad_gradient(value))
        error, prepared = failed(small_world, settings, run)
    name = next(name for name, tensor in prepared.model.tuner.named_parameters())
    assert f"The gradient became {value:g} in {name}, while the loss is" in error.message
    assert f"at step {BAD}" in error.message
    assert json.loads((run / BAD_BATCH).read_text())["gradient_norm"] == str(value)
    assert load_state(run)[0].step == BAD - 1
    go_on(run)  # the centres did not move in the step that failed
    assert files(run) == files(tmp_path / "whole")


def test_measuring_clips_as_torch_does_and_reads_everything():
    values = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.ones(1))]

    def fill():
        values[0].grad, values[1].grad = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 4.0])

    loss, parts = torch.tensor(2.5), {"a": torch.tensor(1.0), "b": torch.tensor(1.5, dtype=torch.bfloat16)}
    fill()
    clipped = measure(loss, parts, values, 1.0)
    assert (clipped.loss, clipped.parts, clipped.norm) == (2.5, {"a": 1.0, "b": 1.5}, 5.0)
    assert values[0].grad.tolist() == pytest.approx([0.6, 0, 0])
    fill()
    assert measure(loss, parts, values, None).norm == 5.0
    assert values[0].grad.tolist() == [3.0, 0, 0]
    for value in values:
        value.grad = None
    assert measure(loss, {}, values, None).finite()
