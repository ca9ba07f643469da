"""How images are read changes no byte of a run: kept or decoded, by processes that stay, resumed, or killed."""

import multiprocessing
import os
import signal
import time

import pytest

from reidtune.data import loader as loader_module
from reidtune.data.workers import Workers
from reidtune.errors import ReidtuneError
from reidtune.training.open import open_run
from reidtune.training.state import load_state
from reidtune.training.stop import Interrupted
from tests.training.reporter import InterruptAt, Silent

pytestmark = pytest.mark.usefixtures("own_cache")

LAST = 16  # steps: 2 epochs of 8


@pytest.fixture
def flags(least):
    return {
        **least,
        "optimiser.lr": 3e-3,
        "training.epochs": 2,
        "training.image_cache": "none",
        "augmentation.pad": 2,
    }


def start(world, flags, output, reporter=None):
    run, said = open_run(str(world), None, flags, output=output), []
    run.train(run.prepare(), reporter or Silent(), said.append)
    return said


def go_on(output, **flags):
    run = open_run(None, None, {f"training.{name}": value for name, value in flags.items()}, resume=output)
    run.train(run.prepare(), Silent())


def files(run):
    return {name: (run / name).read_bytes() for name in ("delta.safetensors", "metrics.csv")}


@pytest.fixture
def whole(small_world, flags, tmp_path):
    assert start(small_world, flags, tmp_path / "whole") == []
    return tmp_path / "whole"


@pytest.mark.parametrize("workers", [0, 2])
def test_kept_images_change_no_byte(whole, small_world, flags, tmp_path, monkeypatch, workers):
    chosen = flags | {"training.image_cache": "disk", "training.workers": workers}
    said = start(small_world, chosen, tmp_path / "kept")
    assert files(tmp_path / "kept") == files(whole)
    assert len(said) == 1
    assert "Images are decoded once" in said[0]
    assert not multiprocessing.active_children()
    monkeypatch.setattr(loader_module, "read_image", lambda file: pytest.fail("decoded again"))
    start(small_world, chosen | {"training.workers": 0}, tmp_path / "again")
    assert files(tmp_path / "again") == files(whole)


def test_a_resumed_run_may_read_its_images_otherwise(whole, small_world, flags, tmp_path):
    with pytest.raises(Interrupted):
        start(small_world, flags, tmp_path / "run", InterruptAt(3))
    go_on(tmp_path / "run", image_cache="disk", workers=2)
    assert files(tmp_path / "run") == files(whole)


def test_a_run_that_keeps_images_ends_in_the_same_bytes_after_a_stop(whole, small_world, flags, tmp_path):
    chosen = flags | {"training.image_cache": "disk", "training.workers": 2}
    with pytest.raises(Interrupted):
        start(small_world, chosen, tmp_path / "run", InterruptAt(5))
    (kept,) = (tmp_path / "cache" / "images").iterdir()
    with kept.open("r+b") as file:  # the machine went down as well
        file.truncate(kept.stat().st_size // 3)
    go_on(tmp_path / "run")
    assert files(tmp_path / "run") == files(whole)


class KillWorkerAt(InterruptAt):
    def step(self, step, loss):
        Silent.step(self, step, loss)
        if step == self.at:
            os.kill(multiprocessing.active_children()[0].pid, self.number)


@pytest.mark.parametrize("at", [4, 8])
def test_a_killed_worker_ends_the_run_in_words_and_it_can_go_on(whole, small_world, flags, tmp_path, at):
    run = tmp_path / "run"
    with pytest.raises(ReidtuneError, match="A process that reads images ended unexpectedly") as error:
        start(small_world, flags | {"training.workers": 2}, run, KillWorkerAt(at, signal.SIGKILL))
    assert f"--resume {run}" in error.value.hint
    assert not multiprocessing.active_children()
    assert load_state(run)[0].step in (at, at + 1)
    go_on(run, workers=1)
    assert files(run) == files(whole)


def test_workers_start_once(small_world, flags, tmp_path, monkeypatch):
    started = []
    before = Workers._started

    def counted(self):
        if self._loader is None:
            started.append(self.count)
        return before(self)

    monkeypatch.setattr(Workers, "_started", counted)
    start(small_world, flags | {"training.workers": 2}, tmp_path / "run")
    assert started == [2]  # for two epochs and three validations


def test_auto_keeps_nothing_of_a_single_epoch(small_world, flags, tmp_path):
    start(small_world, flags | {"training.image_cache": "auto", "training.epochs": 1}, tmp_path / "run")
    assert not (tmp_path / "cache" / "images").exists()


def test_a_long_wait_for_images_is_told(small_world, flags, tmp_path, monkeypatch):
    read = loader_module.read_image
    monkeypatch.setattr("reidtune.data.waiting.LONG", 0.0)
    monkeypatch.setattr("reidtune.data.waiting.cores", lambda: 4)

    def slow(file):
        time.sleep(0.01)
        return read(file)

    monkeypatch.setattr(loader_module, "read_image", slow)
    (sentence,) = start(small_world, flags, tmp_path / "run")
    assert sentence.startswith("Waiting for images takes ")
    assert "use --workers 2 (now 0)" in sentence
