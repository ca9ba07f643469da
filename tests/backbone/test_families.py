"""Every family's walk equals plain open_clip, at its own image size and at another one."""

import pytest
import torch

from reidtune.backbone.load import load_backbone
from reidtune.tuning.tuner import Tuner
from tests.backbone.families import FAMILIES, folder, inputs, load, relative
from tests.backbone.recorder import Recorder

TALL = (48, 16)
FROM_TIMM = [name for name, config in FAMILIES.items() if "timm_model_name" in config["vision_cfg"]]


@pytest.mark.parametrize("name", FAMILIES)
def test_equals_plain_open_clip(family, name):
    backbone, model = family(name)
    images, ids = inputs(backbone)
    with torch.no_grad():
        image, text = backbone.image(images, Tuner()), backbone.text(ids, Tuner())
        errors = (
            relative(image, model.encode_image(images, normalize=False)),
            relative(text, model.encode_text(ids, normalize=False)),
        )
    assert max(errors) < 1e-5
    for features in (image, text):
        assert features.shape[1] == backbone.architecture.config["embed_dim"]
        assert relative(features[:1], features[1:]) > 1e-3  # they depend on what goes in


@pytest.mark.parametrize("name", FROM_TIMM)
def test_another_image_size_equals_timms_own_resize(tmp_path, name):
    backbone, model = load(tmp_path / "model", FAMILIES[name], image_size=TALL)
    model.visual.set_input_size(TALL)
    images, _ = inputs(backbone)
    assert images.shape[2:] == TALL
    with torch.no_grad():
        assert relative(backbone.image(images, Tuner()), model.encode_image(images)) < 1e-5


def test_a_table_of_sines_is_resized_like_a_learned_one(tmp_path):
    backbone, model = load(tmp_path / "model", FAMILIES["clip, sines"], image_size=TALL)
    assert backbone.image.parameters["visual.positional_embedding"].shape == (1 + 6 * 2, 32)
    assert backbone.image(inputs(backbone)[0], Tuner()).shape == (2, 24)


def test_bilinear_positions_are_others(tmp_path):
    folder(tmp_path / "model", FAMILIES["siglip"])
    found = [
        load_backbone(f"local-dir:{tmp_path / 'model'}", image_size=TALL, resize=kind)
        for kind in ("bicubic", "bilinear")
    ]
    tables = [backbone.image.parameters["visual.trunk.pos_embed"] for backbone in found]
    assert tables[0].shape == tables[1].shape == (1, 6 * 2, 32)
    assert not torch.allclose(*tables, atol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_site_is_asked_and_every_parameter_goes_through_the_weight_site(family, name):
    backbone, _ = family(name)
    recorder = Recorder()
    tuner = Tuner({"recorder": recorder})
    images, ids = inputs(backbone, 1)
    with torch.no_grad():
        assert torch.equal(backbone.image(images, tuner), backbone.image(images, Tuner()))
        assert torch.equal(backbone.text(ids, tuner), backbone.text(ids, Tuner()))
    for tower in (backbone.image, backbone.text):
        own = {seen[1:] for seen in recorder.seen if seen[0] == tower.kind}
        assert {seen[1] for seen in own if seen[0] == "weight"} == set(tower.names())
        for layer in range(2):
            assert own >= {(site, layer) for site in ("tokens", "key_value", "attention", "beside_mlp", "block")}
            assert own >= {("linear", layer, name) for name in ("q", "k", "v", "out", "fc1", "fc2")}
            assert own >= {("norm", layer, name) for name in ("ln_1", "ln_2")}
        assert own >= {("pool",), ("embed", "before_positions"), ("embed", "after_positions")}
        last = "ln_post" if tower.kind == "image" else "ln_final"
        assert {seen for seen in own if seen[0] == "norm" and seen[1] == 2} >= {("norm", 2, last)}
        assert set(tower.norm_names()) <= set(tower.names())
    together = {*backbone.image.names(), *backbone.text.names()}
    rest = set(dict(backbone.model.named_parameters())) - together
    assert all(parameter.startswith(("logit_", "text_decoder.")) for parameter in rest)


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_in_the_model_changes(family, name):
    backbone, _ = family(name)
    before = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    images, ids = inputs(backbone, 1)
    backbone.image(images, Tuner())
    backbone.text(ids, Tuner())
    for key, value in backbone.model.state_dict().items():  # some that no tower reads are never initialised: any bits
        torch.testing.assert_close(value, before[key], rtol=0, atol=0, equal_nan=True)
