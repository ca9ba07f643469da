from pathlib import Path

import pytest

from reidtune.demo.world import render_world


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    render_world(folder, seed=3, identities=6)
    return folder
