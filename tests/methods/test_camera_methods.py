"""Every method of images with an embedding of cameras, on a backbone of two blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reidtune.config import validate_settings
from reidtune.delta import read_tensors, write_delta
from reidtune.errors import SettingsError
from reidtune.methods.registry import find_method
from reidtune.tuning.tuner import Tuner
from tests.methods.matrix import IDS, ROWS
from tests.methods.test_contract import disturb, features, sample

IMAGE = [row for row in ROWS if row.task != "text"]
NAMES = [name for name, row in zip(IDS, ROWS, strict=True) if row.task != "text"]
PLACES = [1, 2, 6]


def make(row, backbone, seed=1, **settings):
    page = find_method(row.name)
    own = {**row.settings, "camera_embedding": "camera", "cameras": PLACES, **settings}
    method = page(validate_settings(page.Settings, own))
    return method, method.tuner(backbone, seed)


def batch_of(backbone, row, cameras=(6, 1, 2)):
    return replace(sample(backbone, row.task), cameras=torch.tensor(cameras))


@pytest.mark.parametrize("row", IMAGE, ids=NAMES)
def test_one_vector_a_camera_and_everything_else_as_without(row, small_backbone):
    page = find_method(row.name)
    plain = page(validate_settings(page.Settings, row.settings)).tuner(small_backbone, 1)
    _, tuner = make(row, small_backbone)
    assert tuner.parameter_count() == plain.parameter_count() + len(PLACES) * small_backbone.image.width
    ours, theirs = tuner.tensors(), plain.tensors()
    assert set(ours) - set(theirs) == {"camera_embedding.rows"}
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.parametrize("row", IMAGE, ids=NAMES)
def test_features_depend_on_the_camera_and_every_vector_gets_a_gradient(row, small_backbone):
    _, tuner = make(row, small_backbone)
    disturb(tuner)
    found = features(small_backbone, tuner, batch_of(small_backbone, row))
    found.square().sum(1).mul(torch.arange(1.0, 4.0)).sum().backward()
    rows = tuner.get_parameter("camera_embedding.rows")
    # Normalised features have a constant length: their sum has a gradient.
    rows.grad = None
    features(small_backbone, tuner, batch_of(small_backbone, row)).sum().backward()
    assert (rows.grad.abs().amax(1) > 0).all()
    with torch.no_grad():
        other = features(small_backbone, tuner, batch_of(small_backbone, row, (1, 1, 2)))
        assert not torch.allclose(other[0], found[0], atol=1e-4)
        assert torch.allclose(other[1:], found[1:], atol=1e-5)


@pytest.mark.parametrize("row", IMAGE, ids=NAMES)
def test_saved_and_loaded_features_are_bit_equal(row, small_backbone, tmp_path, header_for):
    method, tuner = make(row, small_backbone)
    disturb(tuner)
    path = tmp_path / "delta.safetensors"
    write_delta(path, tuner.tensors(), header_for(method, small_backbone))
    again = method.tuner(small_backbone, 2)
    again.load_tensors(read_tensors(path))
    batch = batch_of(small_backbone, row)
    with torch.no_grad():
        assert torch.equal(features(small_backbone, tuner, batch), features(small_backbone, again.eval(), batch))


@pytest.mark.parametrize("row", IMAGE, ids=NAMES)
def test_nothing_of_cameras_gives_the_features_without_and_it_does_not_merge(row, small_backbone):
    page = find_method(row.name)
    plain = page(validate_settings(page.Settings, row.settings)).tuner(small_backbone, 1).eval()
    _, tuner = make(row, small_backbone)
    tuner.eval().components()["camera_embedding"].use = "none"
    batch = sample(small_backbone, row.task)
    with torch.no_grad():
        assert torch.equal(features(small_backbone, tuner, batch), features(small_backbone, plain, batch))
    state = {name: value.clone() for name, value in small_backbone.model.state_dict().items()}
    assert not tuner.merge(state, {"image": small_backbone.image, "text": small_backbone.text})


def test_unknown_cameras_of_a_batch_are_refused(small_backbone):
    _, tuner = make(IMAGE[1], small_backbone)
    with pytest.raises(SettingsError, match="the camera of these images is not known"):
        features(small_backbone, tuner, sample(small_backbone, "image"))


def test_all_modalities_of_a_sample_have_its_camera(small_backbone):
    row = next(row for row in IMAGE if row.task == "multimodal")
    _, tuner = make(row, small_backbone)
    only = Tuner({"camera_embedding": tuner.components()["camera_embedding"]}).eval()
    batch, width = batch_of(small_backbone, row, (6, 1, 1)), small_backbone.image.output_width
    with torch.no_grad():
        before = features(small_backbone, only, replace(batch, cameras=torch.tensor([1, 1, 1])))
        after = features(small_backbone, only, batch)
    changed = (after - before).abs().reshape(3, 3, width).amax(2) > 1e-5
    assert changed.tolist() == [batch.present[0].tolist(), [False] * 3, [False] * 3]


def test_bf16_autocast_and_other_rows(small_backbone):
    for rows in ("all", "class"):
        _, tuner = make(IMAGE[1], small_backbone, camera_rows=rows, camera_scale=1.0)
        batch = batch_of(small_backbone, IMAGE[1])
        exact = features(small_backbone, tuner, batch)
        with torch.autocast("cpu", torch.bfloat16):
            rough = features(small_backbone, tuner, batch)
        assert (rough - exact).abs().max() / exact.abs().max() < 0.05


def test_parameters_on_vit_b_16(vit_b_16):
    """Cameras × width: 6 × 768 on Market-1501."""
    page = find_method("lora")
    method = page(page.Settings(camera_embedding="camera", cameras=(1, 2, 3, 4, 5, 6)))
    assert method.tuner(vit_b_16).parameter_count() == 294_912 + 4_608
