import errno
import os

import pytest
import torch

from reidtune.errors import ReidtuneError, SettingsError
from reidtune.training.state import Progress, load_state, save_state


def test_a_saved_state_comes_back_whole(tmp_path):
    progress = Progress(epoch=2, batch=3, step=17, sums={"loss": 1.25}, best=0.5, rows=[{"epoch": 1, "loss": 2.0}])
    modules = {"tuner": {"a": torch.randn(3)}, "optimiser": {"state": {0: {"step": torch.tensor(4.0)}}}}
    save_state(tmp_path, progress, {"data": "x"}, modules)
    again, identity, found = load_state(tmp_path)
    assert again == progress
    assert identity == {"data": "x"}
    assert torch.equal(found["tuner"]["a"], modules["tuner"]["a"])
    assert found["optimiser"]["state"][0]["step"] == 4.0


def test_a_full_disk_leaves_the_earlier_state(tmp_path, monkeypatch):
    save_state(tmp_path, Progress(step=1), {}, {})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReidtuneError, match="No space left on device") as error:
        save_state(tmp_path, Progress(step=2), {}, {})
    assert "--resume" in error.value.hint
    assert load_state(tmp_path)[0].step == 1
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["last.pt"]


def test_folders_without_a_state_and_broken_states_say_so(tmp_path):
    with pytest.raises(SettingsError, match="holds no state to resume from"):
        load_state(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "last.pt").write_bytes(b"broken")
    with pytest.raises(ReidtuneError, match="cannot be read"):
        load_state(tmp_path)


def test_a_state_never_runs_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "state").mkdir()
    torch.save({"format": 1, "trap": Trap()}, tmp_path / "state" / "last.pt")
    with pytest.raises(ReidtuneError):
        load_state(tmp_path)
    assert not (tmp_path / "ran").exists()
