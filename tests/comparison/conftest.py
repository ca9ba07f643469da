"""A comparison that the tests look at, on a small world and a small backbone."""

import pytest

from tests.comparison.comparing import STEPS, call


@pytest.fixture(scope="session")
def flags(small_backbone):
    return {
        "backbone.name": f"local-dir:{small_backbone.architecture.folder}",
        "backbone.image_size": "32x16",
        "optimiser.lr": 0.05,
        "training.steps": STEPS,
        "training.batch_size": 8,
        "training.workers": 0,
        "data.validation_fraction": 0.3,
    }


@pytest.fixture(scope="session")
def finished(small_world, flags, tmp_path_factory):
    """Two methods, two seeds; the result and its folder."""
    folder = tmp_path_factory.mktemp("comparison") / "out"
    return call(small_world, flags, folder), folder
