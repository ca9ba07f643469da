"""A disk that is full or cannot be written, at any file of a run: what was there stays, and the run goes on."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from reidtune import files as module
from reidtune.errors import ReidtuneError
from reidtune.training.state import load_state
from tests.training.runs import files, go_on, start


def refuse(monkeypatch, name, code, begin=0):
    """The file ``name`` cannot be written from its ``begin``-th time on."""
    real, calls = Path.open, []

    def opened(path, mode="r", *args, **kwargs):
        if mode == "xb" and name in path.name:
            calls.append(path)
            if len(calls) > begin:
                raise OSError(code, os.strerror(code))
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr(module.Path, "open", opened)


@pytest.mark.parametrize(
    ("name", "begin"),
    [("last.pt", 0), ("last.pt", 2), ("metrics.csv", 0), ("metrics.csv", 2), ("best.safetensors", 0)],
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_every_file_of_a_run(small_world, flags, whole, tmp_path, monkeypatch, name, begin, code):
    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(ReidtuneError) as error:
        refuse(patch, name, code, begin)
        start(small_world, flags, run)
    assert error.value.exit_code == 1
    assert name in error.value.message
    assert os.strerror(code) in error.value.message
    assert ("The earlier file of that name is untouched." in error.value.message) is (begin > 0)
    assert f"go on with: reidtune train {small_world} --resume {run}" in error.value.hint
    assert not [path for path in run.rglob("*") if "partial" in path.name]
    go_on(run)
    assert files(run) == files(whole[1])


def test_no_epoch_is_lost_with_a_table_or_a_delta(small_world, flags, whole, tmp_path, monkeypatch):
    for name in ("metrics.csv", "best.safetensors"):
        run = tmp_path / name
        with monkeypatch.context() as patch, pytest.raises(ReidtuneError):
            refuse(patch, name, errno.ENOSPC)
            start(small_world, flags, run)
        progress = load_state(run)[0]
        assert (progress.step, progress.batch, progress.epoch) == (8, 8, 0)  # all steps, only the end is to be done


@pytest.mark.parametrize("carved", [0.3, 0.0])
def test_the_last_delta(small_world, flags, tmp_path, monkeypatch, carved):
    """With a validation it gets its name from the best one, without it is written at the end."""
    settings = {**flags, "training.epochs": 1, "data.validation_fraction": carved}
    start(small_world, settings, tmp_path / "whole")
    run = tmp_path / "run"
    with (
        monkeypatch.context() as patch,
        pytest.raises(ReidtuneError, match=r"delta\.safetensors could not be") as error,
    ):
        if carved:
            real = Path.replace

            def replace(path, target):
                if path.name == "best.safetensors":
                    raise OSError(errno.EROFS, os.strerror(errno.EROFS))
                return real(path, target)

            patch.setattr(Path, "replace", replace)
        else:
            refuse(patch, "delta.safetensors", errno.ENOSPC)
        start(small_world, settings, run)
    assert f"--resume {run}" in error.value.hint
    assert not load_state(run)[0].finished
    go_on(run)
    assert files(run) == files(tmp_path / "whole")


@pytest.mark.parametrize("name", ["recipe.toml", "environment.json"])
def test_a_run_that_cannot_replace_another_leaves_it_whole(
    small_world,
    flags,
    whole,
    tmp_path,
    monkeypatch,
    name,
):
    run = tmp_path / "run"
    shutil.copytree(whole[1], run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch, pytest.raises(ReidtuneError, match="could not be written: No space") as error:
        refuse(patch, name, errno.ENOSPC)
        start(small_world, flags | {"seed": 9}, run, force=True)
    assert "--output" in error.value.hint
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_files_that_may_not_grow(training_server, small_world, run_settings, tmp_path):
    """The system's own limit on the size of a file, in a real process: nothing half-written is taken for a file."""
    training_server.prepare("short", small_world, {**run_settings, "training.steps": 4})

    def train(run, **task):
        return training_server(run, training="short", save_seconds=300, **task)["code"]

    assert train(tmp_path / "whole") == 0
    state = (tmp_path / "whole" / "state" / "last.pt").stat().st_size
    delta = (tmp_path / "whole" / "delta.safetensors").stat().st_size
    for number, limit in enumerate((delta // 2, delta + 100, state - 100)):
        run = tmp_path / str(number)
        assert train(run, largest=limit) == 1
        assert not [path for path in run.rglob("*") if "partial" in path.name]
        assert train(run) == 0
        assert files(run) == files(tmp_path / "whole")
