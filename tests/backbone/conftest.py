"""Every family's small model, loaded once a run."""

from __future__ import annotations

import pytest

from tests.backbone.families import FAMILIES, load


@pytest.fixture(scope="session")
def family(tmp_path_factory):
    """``family(name)`` → ``(backbone, plain open_clip model)``; neither is to be changed."""
    loaded = {}

    def get(name):
        if name not in loaded:
            loaded[name] = load(tmp_path_factory.mktemp("family"), FAMILIES[name])
        return loaded[name]

    return get
