"""A method with stages: each stage moves only what it trains, and a resumed run is exact across the switch."""

import pytest
import torch

from reidtune.delta import read_tensors
from reidtune.methods import registry
from reidtune.training.state import load_state
from reidtune.training.stop import Interrupted
from tests.training.reporter import InterruptAt
from tests.training.runs import go_on, start


@pytest.fixture
def flags(least, monkeypatch):
    monkeypatch.setitem(registry._PAGES, "staged", "tests.training.staged:Staged")
    return {
        **least,
        "method": "staged",
        "optimiser.lr": 3e-3,
        "training.steps": 9,
        "data.validation_fraction": 0.0,
    }


def tensors_after(world, flags, output, step):
    with pytest.raises(Interrupted):
        start(world, flags, output, InterruptAt(step))
    return load_state(output)[2]["tuner"]


def test_each_stage_moves_only_its_own_tensors(small_world, flags, tmp_path):
    begin = tensors_after(small_world, flags, tmp_path / "a", 1)
    switch = tensors_after(small_world, flags, tmp_path / "b", 3)
    start(small_world, flags, tmp_path / "whole")
    final = read_tensors(tmp_path / "whole")
    heads = [load_state(tmp_path / name)[2]["objective"]["neck.classifier.weight"] for name in ("b", "whole")]
    assert torch.equal(*heads)  # the second stage trains no heads
    for name, value in final.items():
        if ".q." in name:
            assert torch.equal(value, switch[name])
            assert not torch.equal(begin[name], switch[name]) or name.endswith("A")
        else:
            assert torch.equal(begin[name], switch[name])
    assert any(not torch.equal(final[name], switch[name]) for name in final if ".v." in name)


@pytest.mark.parametrize("step", [2, 3, 4, 9])
def test_resuming_around_the_switch_is_exact(small_world, flags, tmp_path, step):
    start(small_world, flags, tmp_path / "whole")
    with pytest.raises(Interrupted):
        start(small_world, flags, tmp_path / "broken", InterruptAt(step))
    go_on(tmp_path / "broken")
    assert (tmp_path / "broken/delta.safetensors").read_bytes() == (tmp_path / "whole/delta.safetensors").read_bytes()
