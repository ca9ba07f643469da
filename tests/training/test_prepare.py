"""What is checked before a training, and in which order."""

import shutil

import numpy as np
import pytest
from PIL import Image

from reidtune.errors import SettingsError
from reidtune.training.open import open_run


@pytest.fixture
def flags(least):
    return dict(least)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"backbone.name": "ViT-B-99"}, 'Unknown backbone "ViT-B-99"'),
        ({"backbone.name": "RN50"}, "is not supported"),
        ({"backbone.image_size": "30x16"}, "does not divide into patches"),
    ],
)
def test_a_backbone_that_cannot_be_is_said_before_the_data(flags, tmp_path, choice, said):
    with pytest.raises(SettingsError, match=said):
        open_run(str(tmp_path / "nowhere"), None, flags | choice, output=tmp_path / "x").prepare()


def test_images_of_12_bits_are_told(small_world, flags, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(small_world, copy)
    for file in (copy / "bounding_box_train").glob("*.jpg"):
        values = np.asarray(Image.open(file).convert("L")).astype(np.uint16) << 4
        Image.fromarray(values).save(file, "PNG")
    said = []
    open_run(str(copy), None, flags, output=tmp_path / "x").prepare(said.append)
    assert any("16-bit images looked at use only levels up to 1" in sentence for sentence in said)
    said.clear()
    open_run(str(small_world), None, flags, output=tmp_path / "x").prepare(said.append)
    assert not any("16-bit" in sentence for sentence in said)
