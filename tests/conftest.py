"""Fixtures that several rooms share. No test reaches the network or writes outside its temporary folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the test run's own, shared by its subprocesses."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("REIDTUNE_CACHE")
    os.environ["REIDTUNE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["REIDTUNE_CACHE"]
    else:
        os.environ["REIDTUNE_CACHE"] = before


@pytest.fixture
def golden() -> Path:
    """The folder of reference numbers; each file has a .json beside it that explains it."""
    return GOLDEN
