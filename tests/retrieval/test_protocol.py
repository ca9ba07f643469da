from __future__ import annotations

import pytest
import torch

from reidtune.errors import SettingsError
from reidtune.retrieval.protocol import PROTOCOLS, check_protocol, ignored, needs_places

IDS = torch.tensor([1, 1, 2])
PLACES = torch.tensor([0, 1, 0])
ROWS = torch.arange(3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cross-camera", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("cross-scene", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("leave-one-out", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    ],
)
def test_an_item_ignores_itself(name, expected):
    mask = ignored(name, IDS, IDS, PLACES, PLACES, ROWS, ROWS)
    assert mask.tolist() == torch.tensor(expected).bool().tolist()


def test_rules_read_what_they_are_named_after():
    gallery_ids, gallery_places, gallery_rows = torch.tensor([1, 1, 2, 0]), torch.tensor([0, 1, 0, 0]), torch.arange(4)
    places = ignored("cross-camera", IDS[:1], gallery_ids, PLACES[:1], gallery_places, ROWS[:1] + 3, gallery_rows)
    assert places.tolist() == [[True, False, False, False]]  # neither another id of the camera nor a distractor
    rows = ignored("leave-one-out", IDS[:1], gallery_ids, None, None, ROWS[:1] + 3, gallery_rows)
    assert rows.tolist() == [[False, False, False, True]]
    for name in ("all", "cross-modality", "random-gallery"):
        assert ignored(name, IDS[:1], gallery_ids, PLACES[:1], gallery_places, ROWS[:1], gallery_rows) is None


def test_names():
    for name, sentence in PROTOCOLS.items():
        check_protocol(name)
        assert sentence and "\n" not in sentence
    assert {name for name in PROTOCOLS if needs_places(name)} == {"cross-camera", "cross-scene"}
    with pytest.raises(SettingsError, match='Did you mean "leave-one-out"') as caught:
        check_protocol("leave_one_out")
    assert all(name in caught.value.hint for name in PROTOCOLS)
