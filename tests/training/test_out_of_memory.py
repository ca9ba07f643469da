"""Memory that runs out: what is recognised, what is proposed, and that nothing is lost."""

import dataclasses

import numpy as np
import pytest
import torch

from reidtune.training import loop
from reidtune.training.out_of_memory import Facts, OutOfMemory, asked_for, fixes
from reidtune.training.state import load_state
from tests.training.runs import files, go_on, start

HUGE = 1 << 50  # bytes, which nobody has
FACTS = Facts(batch=64, a_sample=100_000_000, fixed=0, weights=600_000_000, can_half=True)


def allocate():
    torch.empty(HUGE, dtype=torch.uint8)


def raised(what):
    try:
        what()
    except Exception as error:
        return error
    pytest.fail("so much memory was there")


def test_every_kind_of_refusal_is_recognised():
    cuda = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.2 GiB"
    assert asked_for(torch.OutOfMemoryError(cuda)) == "2.7 GB"
    assert asked_for(raised(allocate)) == f"{HUGE / 1e9:.1f} GB"
    assert asked_for(raised(lambda: np.empty(HUGE, np.uint8))) == f"{HUGE / 1e9:.1f} GB"
    assert asked_for(MemoryError()) == "memory"
    assert asked_for(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert asked_for(OSError("Cannot allocate")) is None


def test_the_cheapest_come_first_and_none_that_is_there_already():
    def begin(facts):
        return [way.split()[0] for way in fixes(facts, "GO")]

    assert begin(FACTS) == ["--precision", "--checkpoint", "--micro-batch"]
    assert begin(dataclasses.replace(FACTS, can_half=False)) == ["--checkpoint", "--micro-batch", "--batch-size"]
    assert begin(dataclasses.replace(FACTS, half=True, checkpointed=True)) == ["--micro-batch", "--batch-size", "a"]
    least = dataclasses.replace(FACTS, half=True, checkpointed=True, micro_batch=1)
    assert begin(least) == ["--batch-size", "a"]


def test_what_they_save_is_computed():
    half, rows, parts = fixes(dataclasses.replace(FACTS, a_sample_checkpointed=10_000_000), "GO")
    assert "saves about 3.2 GB of 6.4 GB" in half and "new run" in half
    assert "saves about 5.8 GB of 6.4 GB" in rows and rows.endswith(": GO --checkpoint all")
    assert "--micro-batch 16 saves about 4.8 GB of 6.4 GB" in parts and parts.endswith(": GO --micro-batch 16")
    assert fixes(FACTS, "GO", half_resumes=True)[0].endswith(": GO --precision bf16")
    unknown = fixes(Facts(batch=8, a_sample=0, fixed=0, weights=0), "GO")
    assert all("0 B" not in way for way in unknown)


def failing(monkeypatch, owner, name, call, after=False):
    real, calls = getattr(owner, name), []

    def limited(*args, **kwargs):
        calls.append(1)
        found = real(*args, **kwargs) if after or len(calls) != call else None
        if len(calls) == call:
            allocate()
        return found

    monkeypatch.setattr(owner, name, limited)


def test_a_step_without_memory_keeps_the_state_before_it(small_world, flags, tmp_path, monkeypatch):
    settings = {**flags, "loss.metric": "center"}
    start(small_world, settings, tmp_path / "whole")
    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(OutOfMemory) as error:
        failing(patch, loop, "forward", 11, after=True)  # the centres have moved by then
        start(small_world, settings, run)
    assert "not enough memory for step 11 (epoch 2): 1125899.9 GB was asked for" in error.value.message
    assert f"The state of step 10 is saved in {run}" in error.value.message
    assert "A step takes about" in error.value.message
    ways = error.value.hint.splitlines()[1:]
    assert [way.split()[1] for way in ways] == ["--checkpoint", "--micro-batch", "--batch-size"]
    assert f"--resume {run} --checkpoint all" in ways[0]
    assert load_state(run)[0].step == 10
    go_on(run)
    assert files(run) == files(tmp_path / "whole")


def test_the_proposed_flags_go_on_with_the_run(small_world, flags, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(OutOfMemory):
        failing(patch, loop, "forward", 11)
        start(small_world, flags, tmp_path / "run")
    go_on(tmp_path / "run", {"training.checkpoint": "all", "training.micro_batch": 2})
    assert (tmp_path / "run" / "delta.safetensors").is_file()


def test_memory_that_runs_out_within_the_optimisers_step_saves_no_half_step(
    small_world,
    flags,
    whole,
    tmp_path,
    monkeypatch,
):
    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(OutOfMemory) as error:
        failing(patch, torch.optim.AdamW, "step", 11, after=True)
        start(small_world, flags, run)
    assert "The state of step 8 is saved" in error.value.message  # of the epoch's beginning
    assert load_state(run)[0].step == 8
    go_on(run)
    assert files(run) == files(whole[1])


def test_a_validation_without_memory_is_done_again(small_world, flags, whole, tmp_path, monkeypatch):
    from reidtune.training import validation as module

    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(OutOfMemory) as error:
        failing(patch, module, "validate", 2)
        start(small_world, flags, run)
    assert "not enough memory for the validation" in error.value.message
    assert f"--resume {run}" in error.value.hint
    assert load_state(run)[0].step == 8
    go_on(run)
    assert files(run) == files(whole[1])
