"""What a short training on the command line is given."""

import pytest


@pytest.fixture(scope="session")
def options(small_backbone):
    """Flags of the small backbone; files that train otherwise add theirs."""
    folder = small_backbone.architecture.folder
    return [f"--backbone=local-dir:{folder}", "--image-size=32x16", "--batch-size=8", "--workers=0"]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Where runs/ would appear."""
    monkeypatch.chdir(tmp_path)
