"""The metadata of a delta: what each key may hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reidtune.delta import read_header
from reidtune.errors import DeltaError
from tests.delta.lies import NAME, relist, remeta


def test_a_newer_format_says_to_upgrade(delta: Path) -> None:
    remeta(delta, lambda values: values.update(format=2, surprise=1))
    with pytest.raises(DeltaError, match="format 2") as caught:
        read_header(delta)
    assert "Upgrade" in caught.value.hint


WRONG: dict[str, list[Any]] = {
    "format": [0, "1", True, None],
    "method": ["", 3],
    "settings": [[], None],
    "backbone": [{}, {"name": 1, "pretrained": None, "fingerprint": {}}, "tiny"],
    "preprocess": [{}, {"height": 96}],
    "task": [None],
    "protocol": [1],
    "data": [[]],
    "metrics": ["good"],
    "norms": [{NAME: "1"}, {NAME: -1.0}, []],
    "parameters": [-1, 1.5, "3", 10**9],
    "versions": [{"torch": 2}],
    "digest": ["", "Z" * 64, 0],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_metadata_of_the_wrong_type(delta: Path, key: str, value: Any) -> None:
    remeta(delta, lambda values: values.update({key: value}))
    with pytest.raises(DeltaError, match="damaged"):
        read_header(delta)


@pytest.mark.parametrize("key", list(WRONG))
def test_a_missing_key_is_named(delta: Path, key: str) -> None:
    remeta(delta, lambda values: values.pop(key))
    with pytest.raises(DeltaError, match=key):
        read_header(delta)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.update(surprise=1), 'unknown key "surprise"'),
        (lambda m: m["backbone"].update(path="/x"), 'backbone has the unknown key "path"'),
        (lambda m: m["backbone"].update(pretrained=3), "backbone.pretrained"),
        (lambda m: m["backbone"]["fingerprint"].update(tensors={"a": 1}), "names and hashes"),
        (lambda m: m["backbone"]["fingerprint"].update(digest=""), "fingerprint's digest"),
        (lambda m: m["backbone"]["fingerprint"].update(switches=[]), "switches"),
        (lambda m: m["preprocess"].update(height=0), "preprocess.height"),
        (lambda m: m["preprocess"].update(mean=[1, 2]), "preprocess.mean"),
        (lambda m: m["preprocess"].update(std=[1, 1, 0]), "preprocess.std"),
        (lambda m: m["preprocess"].update(interpolation=None), "preprocess.interpolation"),
    ],
)
def test_metadata_that_lies_deeper(delta: Path, change: Callable[[dict[str, Any]], Any], reason: str) -> None:
    remeta(delta, change)
    with pytest.raises(DeltaError, match=reason):
        read_header(delta)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "not an object"),
        ("{", "not valid JSON"),
        ('{"format":1,"format":1}', "occurs twice"),
        ('{"format":1e999}', "not valid JSON"),
        ('{"format":Infinity}', "not valid JSON"),
        ('{"format": 1}', "canonical"),
        ('{"format":"\\ud800"}', "not valid JSON"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "not valid JSON"),
        (5, "not a string"),
    ],
)
def test_metadata_that_is_no_canonical_json(delta: Path, text: Any, reason: str) -> None:
    relist(delta, lambda listing: listing["__metadata__"].update(reidtune=text))
    with pytest.raises(DeltaError, match=reason):
        read_header(delta)


def test_metadata_under_other_keys_is_refused(delta: Path) -> None:
    relist(delta, lambda listing: listing["__metadata__"].update(note="unsigned"))
    with pytest.raises(DeltaError, match='unknown key "note"'):
        read_header(delta)
