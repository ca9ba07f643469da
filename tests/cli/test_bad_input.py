"""Bad input that shows only while a command works: the files before it stay, and the run goes on once it is mended.
What is refused before anything begins is in test_refusals.py."""

import errno
import json
import re
import shutil

import pytest
import torch

from reidtune.cli.app import run
from reidtune.delta import verify
from reidtune.training import loop


@pytest.fixture
def world(small_world, tmp_path):
    return shutil.copytree(small_world, tmp_path / "world")


@pytest.fixture
def options(options):
    return [*options, "-q"]


@pytest.fixture
def train(capsys, world, options):
    """Run the command; returns its code and what it said on stderr, in one line."""

    def call(*arguments):
        code = run(["train", *map(str, arguments)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, " ".join(printed.err.split())

    return call


def delta_bytes(folder):
    return (folder / "delta.safetensors").read_bytes()


def test_a_truncated_image_found_in_mid_training(train, world, options, tmp_path):
    victim = max((world / "bounding_box_train").glob("0*.jpg"))
    whole = victim.read_bytes()
    settings = [*options, "--steps=20", "--set", "data.validation_fraction=0"]
    assert train(world, *settings, "--output", tmp_path / "straight")[0] == 0
    victim.write_bytes(whole[:900])  # the header is whole
    code, said = train(world, *settings, "--output", tmp_path / "run")
    assert code == 4
    assert f'{victim.name}" is damaged' in said
    assert not (tmp_path / "run" / "delta.safetensors").exists()
    code, said = train("--resume", tmp_path / "run")
    assert code == 4  # not mended yet
    step = int(re.search(r"Going on at step (\d+) of 20", said)[1])
    assert step > 0  # not from the beginning
    victim.write_bytes(whole)
    code, said = train("--resume", tmp_path / "run")
    assert code == 0
    assert f"Going on at step {step} of 20" in said
    assert delta_bytes(tmp_path / "run") == delta_bytes(tmp_path / "straight")


def test_data_that_changed_before_a_resume(train, world, options, tmp_path):
    assert train(world, *options, "--steps=2", "--output", tmp_path / "run")[0] == 0
    before = delta_bytes(tmp_path / "run")
    min((world / "bounding_box_train").glob("0*.jpg")).unlink()
    code, said = train("--resume", tmp_path / "run", "-q")
    assert code == 2
    assert "data (files, identities, cameras, scenes or captions) is not the one" in said
    assert "--init-from" in said
    assert delta_bytes(tmp_path / "run") == before


@pytest.mark.parametrize("words", ["state", "table"])
def test_a_disk_that_fills_up_in_any_file(train, world, options, tmp_path, monkeypatch, words):
    """Whatever file it is that finds no room: exit 1, and afterwards the run ends in the same bytes."""
    settings = [*options, "--steps=12"]
    assert train(world, *settings, "--output", tmp_path / "straight")[0] == 0
    calls = []

    def fail(real):
        def write(*args, **kwargs):
            calls.append(args)
            if len(calls) > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return write

    with monkeypatch.context() as patch:
        if words == "state":
            patch.setattr(torch, "save", fail(torch.save))
        else:
            patch.setattr(loop, "write_whole", fail(loop.write_whole))
        code, said = train(world, *settings, "--output", tmp_path / "run")
    assert code == 1
    assert "No space left on device" in said
    assert len(calls) == 2
    assert train("--resume", tmp_path / "run", "-q")[0] == 0
    assert delta_bytes(tmp_path / "run") == delta_bytes(tmp_path / "straight")
    verify(tmp_path / "run")


def test_a_folder_that_cannot_be_written(train, world, options, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, said = train(world, *options, "--steps=1", "--output", tmp_path / "file" / "run")
    assert code == 1
    assert "could not be written" in said
    assert "--output" in said
    code, said = train(world, *options, "--steps=1", "--output", tmp_path / "file")
    assert code == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_whose_notes_are_lost_asks_for_the_data(train, world, options, tmp_path):
    assert train(world, *options, "--steps=1", "--output", tmp_path / "run")[0] == 0
    for content in ("", "[]", json.dumps({"device": "cpu"})):
        (tmp_path / "run" / "environment.json").write_text(content)
        code, said = train("--resume", tmp_path / "run", "-q")
        assert code == 2
        assert "does not say what it was trained on. Give DATA as well." in said
    assert train(world, "--resume", tmp_path / "run", "-q")[0] == 0


def test_a_damaged_state(train, world, options, tmp_path):
    assert train(world, *options, "--steps=1", "--output", tmp_path / "run")[0] == 0
    (tmp_path / "run" / "state" / "last.pt").write_bytes(b"no state")
    code, said = train("--resume", tmp_path / "run", "-q")
    assert code == 1
    assert "last.pt cannot be read" in said


def test_many_bad_files_are_counted_and_the_first_are_named(train, world, options, tmp_path):
    victims = sorted((world / "bounding_box_train").glob("0*.jpg"))[:7]
    for number, path in enumerate(victims):
        path.write_bytes(b"" if number % 2 else b"nothing to see")
    code, said = train(world, *options, "--steps=1", "--output", tmp_path / "run")
    assert code == 4
    assert "7 image files of 80 cannot be read" in said
    assert sum(path.name in said for path in victims) == 5
    assert "and 2 more" in said
    assert not (tmp_path / "run").exists()
