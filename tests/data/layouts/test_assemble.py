from __future__ import annotations

from pathlib import Path

import pytest

from reidtune.data.layouts import assemble, number_names
from reidtune.errors import DataError

from ..conftest import record


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["b", "a", "c"], {"a": 1, "b": 2, "c": 3}),
        (["0007", "12"], {"0007": 7, "12": 12}),
        (["10", "9", "0"], {"0": 1, "9": 2, "10": 3}),
        (["7", "07"], {"07": 1, "7": 2}),
        (["1", "x"], {"1": 1, "x": 2}),
        (["٣", "1"], {"1": 1, "٣": 2}),
    ],
)
def test_names_become_positive_numbers(names, numbers):
    assert number_names([*names, *names]) == {**numbers, "-1": -1}


def test_a_dataset_needs_a_known_identity(tmp_path):
    with pytest.raises(DataError, match="no image of a known identity"):
        assemble(tmp_path, "x", "X", [record(-1), record(0)], [], [])


def test_cameras_that_are_known_in_part_do_not_make_a_rule():
    query, gallery = [record(1, 1)], [record(1, 2), record(2, None)]
    assert assemble(Path(), "x", "X", [], query, gallery).protocol == "all"
    assert assemble(Path(), "x", "X", [], query, [*gallery[:1], record(2, 1)]).protocol == "cross-camera"
