"""What torchrun's environment says, and that only one process prints."""

import json
import sys

import pytest

from reidtune.cli.app import run
from reidtune.launch import Launch, launched, one_voice, program, speaks_of_failure
from tests.training.processes import free_port

SECOND = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}


@pytest.fixture
def second(monkeypatch):
    for name, value in {**SECOND, "MASTER_PORT": str(free_port())}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def first(second, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")


def test_without_torchrun_there_is_one_process(monkeypatch, capsys):
    monkeypatch.delenv("RANK", raising=False)
    assert launched() is None
    assert program() == "reidtune"
    with one_voice():
        print("heard")
    assert capsys.readouterr().out == "heard\n"
    assert speaks_of_failure("anything")


def test_what_torchrun_says_is_read(second):
    assert launched() == Launch(1, 4, 1, 2)
    assert program() == "torchrun --nnodes 2 --nproc-per-node 2 -m reidtune"


@pytest.mark.parametrize(("name", "value"), [("RANK", "first"), ("MASTER_PORT", "")])
def test_half_of_it_is_not_torchrun(second, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert launched() is None


def test_the_second_process_is_silent(second, capsys):
    with one_voice():
        print("lost")
        print("lost", file=sys.stderr)
    print("heard")
    assert capsys.readouterr() == ("heard\n", "")


def test_the_first_to_fail_speaks_and_tells_torchrun(first, monkeypatch, tmp_path):
    said = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(said))
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert speaks_of_failure("There is no such folder.")
    assert json.loads(said.read_text())["message"]["message"] == "There is no such folder."


@pytest.mark.parametrize("command", ["evaluate", "eval", "embed", "search"])
def test_a_command_for_one_process_refuses_several(first, monkeypatch, capsys, command):
    monkeypatch.setattr("reidtune.training.distributed.failed_first", lambda: True)
    assert run([command, "demo"]) == 2
    assert f"torchrun started 4 processes, but {command} works in one" in capsys.readouterr().err


def test_a_dry_run_counts_the_share_of_a_process(first, small_world, small_backbone, tmp_path, capsys):
    folder = small_backbone.architecture.folder
    options = [f"--backbone=local-dir:{folder}", "--image-size=32x16", "--batch-size=8", "--workers=0"]
    assert run(["train", str(small_world), *options, "--dry-run", "--json", "--output", str(tmp_path)]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]
    assert (memory["processes"], memory["batch"]) == (4, 2)
    assert (
        memory["activation_bytes_per_batch"]
        == memory["activation_bytes_fixed"] + 2 * memory["activation_bytes_per_image"]
    )


def test_a_dry_run_is_the_first_ones(second, capsys, tmp_path):
    assert run(["train", str(tmp_path / "nowhere"), "--dry-run"]) == 0
    assert capsys.readouterr() == ("", "")
