"""Embeddings of cameras: what is added, to which rows, and what happens where a camera is not known."""

from __future__ import annotations

import pytest
import torch

from reidtune.backbone.walk import Walk
from reidtune.cameras import MEAN, NONE, Cameras
from reidtune.errors import SettingsError
from reidtune.seeds import seeded
from reidtune.tuning.camera_embedding import CameraEmbedding
from reidtune.tuning.tuner import Tuner

PLACES = (7, 2, 5)


def make(backbone, kind="camera", scale=3.0, rows="all"):
    with seeded(1):
        return CameraEmbedding(backbone.image, Cameras(kind, PLACES), scale, rows)


def walk(cameras=None, scenes=None):
    given = [None if places is None else torch.tensor(places) for places in (cameras, scenes)]
    return Walk(cameras=given[0], scenes=given[1])


def tokens(count=4):
    return torch.randn(count, 9, 32, generator=torch.Generator().manual_seed(2))


def test_the_scaled_vector_of_the_camera_is_added_to_every_row(small_backbone):
    component, before = make(small_backbone), tokens()
    after = component.embed(walk([5, 2, 7, 5]), "before_positions", before)
    for row, place in enumerate([1, 0, 2, 1]):  # in the order of their numbers
        torch.testing.assert_close(after[row], before[row] + 3.0 * component.rows[place])
    assert component.embed(walk([5, 2, 7, 5]), "after_positions", before) is before


def test_the_class_row_alone_as_in_the_family_of_clip_reid(small_backbone):
    component, before = make(small_backbone, scale=1.0, rows="class"), tokens()
    after = component.embed(walk([5, 2, 7, 5]), "before_positions", before)
    assert torch.equal(after[:, 1:], before[:, 1:])
    torch.testing.assert_close(after[:, 0], before[:, 0] + component.rows[[1, 0, 2, 1]])


def test_scenes_in_the_place_of_cameras(small_backbone):
    component = make(small_backbone, kind="scene")
    one = component.embed(walk([1, 1], [2, 7]), "before_positions", tokens(2))
    other = make(small_backbone).embed(walk([2, 7]), "before_positions", tokens(2))
    assert torch.equal(one, other)


def test_the_mean_or_nothing_where_cameras_are_not_known(small_backbone):
    component, before = make(small_backbone), tokens()
    component.use = MEAN
    after = component.embed(walk(), "before_positions", before)
    torch.testing.assert_close(after, before + 3.0 * component.rows.mean(0))
    component.use = NONE
    assert component.embed(walk(), "before_positions", before) is before


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("camera", {}, r"each camera of its training data \(7, 2, 5\), but the camera of these images is not known"),
        ("scene", {"cameras": [2, 2]}, "but the scene of these images is not known"),
        ("camera", {"cameras": [2, 9]}, "but an image is of 9"),
        ("camera", {"cameras": [1, 3, 8, 2]}, "but an image is of 1, 3, 8"),
    ],
)
def test_unknown_cameras_are_refused(kind, given, words, small_backbone):
    count = len(given.get("cameras", [0]))
    with pytest.raises(SettingsError, match=words) as caught:
        make(small_backbone, kind).embed(walk(**given), "before_positions", tokens(count))
    assert "mean" in caught.value.hint and "none" in caught.value.hint


def test_it_starts_small_and_normal(small_backbone):
    with seeded(0):
        rows = CameraEmbedding(small_backbone.image, Cameras("camera", tuple(range(200))), 3.0, "all").rows
    assert abs(rows.mean().item()) < 1e-3
    assert rows.std().item() == pytest.approx(0.02, rel=0.05)


def test_only_its_vectors_are_its_tensors(small_backbone):
    tuner = Tuner({"camera_embedding": make(small_backbone)})
    assert {name: tuple(value.shape) for name, value in tuner.tensors().items()} == {"camera_embedding.rows": (3, 32)}


def test_what_cannot_be_made_is_said(small_backbone):
    with pytest.raises(SettingsError, match=r"settings\.cameras is empty"):
        CameraEmbedding(small_backbone.image, Cameras("camera", ()), 3.0, "all")
    with pytest.raises(SettingsError, match="camera_rows is class, but this backbone has no class row"):
        CameraEmbedding(small_backbone.text, Cameras("camera", (1, 2)), 3.0, "class")
