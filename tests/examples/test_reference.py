"""The plain reference of the benchmarks against numbers of the public implementations."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "examples" / "benchmarks" / "reference.py"


@pytest.fixture
def reference():
    specification = importlib.util.spec_from_file_location("reference", PATH)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("method", ["dm-adapter", "cskt"])
def test_it_matches_the_golden_tower(reference, method):
    shares = reference.check(method)
    assert set(shares) == {"image features", "text features", "loss", "gradients"}
    assert max(shares.values()) <= 1, shares


@pytest.mark.parametrize("method", ["dm-adapter", "cskt"])
def test_another_scale_would_be_noticed(reference, method, monkeypatch):
    monkeypatch.setitem(reference.SCALES, "text", 3.99)
    shares = reference.check(method)
    assert shares["text features"] > 1
    assert shares["gradients"] > 1
    assert shares["image features"] <= 1
