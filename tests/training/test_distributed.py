"""Which device a process has, and what is said where a process is lost or differs."""

import pytest
import torch

from reidtune.errors import ReidtuneError, SettingsError
from reidtune.launch import Launch
from reidtune.training.distributed import Processes, device_of
from reidtune.training.lost import ProcessLost, reached

SECOND = Launch(1, 2, 1, 2)


def test_without_a_gpu_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto", SECOND) == torch.device("cpu")
    with pytest.raises(SettingsError, match="cuda is not available"):
        device_of("cuda", SECOND)


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("auto", SECOND) == device_of("cuda", SECOND) == torch.device("cuda", 1)
    assert device_of("cpu", SECOND) == torch.device("cpu")
    with pytest.raises(SettingsError, match="3 processes were started here, but there are 2 GPUs"):
        device_of("cuda", Launch(0, 3, 0, 3))


@pytest.mark.parametrize("name", ["cuda:0", "mps"])
def test_one_named_device_is_not_for_several_processes(name):
    with pytest.raises(SettingsError, match=f"training.device is {name}, but torchrun started 2 processes"):
        device_of(name, SECOND)


@pytest.mark.parametrize("said", ["[gloo] Connection closed by peer [127.0.0.1]:80", "Timed out waiting 1800000ms"])
def test_a_lost_process_is_said_plainly(said):
    with pytest.raises(ProcessLost, match="Another process of this training ended"), reached():
        raise RuntimeError(said)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), torch.OutOfMemoryError("gloo wants 3 GB")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as found, reached():
        raise error
    assert not isinstance(found.value, ProcessLost)


def test_the_process_that_differs_is_named(monkeypatch):
    team = Processes.__new__(Processes)
    monkeypatch.setattr(team, "objects", lambda own: [own, {**own, "data": "other"}, own], raising=False)
    with pytest.raises(ReidtuneError, match="The data of process 1 is not that of process 0: other and same"):
        team.check_equal({"torch": "2", "data": "same"})
