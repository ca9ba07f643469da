"""A small run of 3 epochs of 8 steps, whose pieces the tests of this room take apart."""

import shutil

import pytest

from tests.training.reporter import Silent
from tests.training.runs import start


@pytest.fixture(scope="session")
def least(small_backbone):
    """What every run of LoRA on the small backbone has; files that try other settings add them."""
    return {
        "method": "lora",
        "backbone.name": f"local-dir:{small_backbone.architecture.folder}",
        "backbone.image_size": "32x16",
        "training.batch_size": 8,
        "training.workers": 0,
        "data.validation_fraction": 0.3,
    }


@pytest.fixture(scope="session")
def run_settings(least):
    return {
        **least,
        "settings.dropout": 0.1,
        "optimiser.lr": 3e-3,
        "training.epochs": 3,
        "training.validate_every": 1,
        "augmentation.pad": 2,
    }


@pytest.fixture
def flags(run_settings):
    return dict(run_settings)


@pytest.fixture(scope="session")
def uninterrupted(small_world, run_settings, tmp_path_factory):
    run, reporter = tmp_path_factory.mktemp("uninterrupted") / "run", Silent()
    return start(small_world, run_settings, run, reporter), run, reporter


@pytest.fixture
def whole(uninterrupted, tmp_path):
    """An uninterrupted run: its result, a folder of one's own with its files, and what its reporter was told."""
    result, run, reporter = uninterrupted
    return result, shutil.copytree(run, tmp_path / "whole"), reporter


@pytest.fixture(scope="session")
def text_world(tmp_path_factory):
    """The text part of a demo world of 14 people, in CUHK-PEDES' layout."""
    from reidtune.demo.world import render_world

    folder = tmp_path_factory.mktemp("text-world")
    render_world(folder, identities=14, kinds=("text",))
    return folder / "text"
