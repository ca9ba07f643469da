"""The walk equals plain open_clip, per family and against reference numbers."""

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from reidtune.backbone.load import load_backbone
from reidtune.backbone.open_clip_tower import OpenClipTower
from reidtune.backbone.text_tower import TextTower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component
from reidtune.tuning.tuner import Tuner
from tests.backbone.recorder import Recorder

CONFIG = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 56, "layers": 2, "width": 32, "head_width": 16, "patch_size": 4},
    "text_cfg": {"context_length": 20, "vocab_size": 96, "width": 24, "heads": 3, "layers": 2},
}


def towers(model, config):
    vision, text = config["vision_cfg"], config["text_cfg"]
    patch = vision.get("patch_size", 16)
    image = OpenClipTower(
        model,
        {
            "layers": vision["layers"],
            "heads": vision["width"] // vision.get("head_width", 64),
            "patch": (patch, patch),
            "grid": model.visual.grid_size,
        },
        config["embed_dim"],
    )
    text_tower = TextTower(
        model,
        {key: text[key] for key in ("layers", "heads")} | {"context": text.get("context_length", 77)},
        config["embed_dim"],
    )
    return image, text_tower


def build(config, **vision):
    return open_clip.CLIP(
        config["embed_dim"],
        vision_cfg={**config["vision_cfg"], **vision},
        text_cfg=config["text_cfg"],
        quick_gelu=config.get("quick_gelu", False),
    ).eval()


def relative(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


def test_equals_the_reference_features(golden):
    tensors = load_file(golden / "open_clip_tiny.safetensors")
    state = {name.removeprefix("clip."): value for name, value in tensors.items() if name.startswith("clip.")}
    model = build(CONFIG)
    model.load_state_dict(state)
    image, text = towers(model, CONFIG)
    with torch.no_grad():
        square = image(tensors["input.images_square"], Tuner())
        words = text(tensors["input.token_ids"], Tuner())
    assert torch.allclose(square, tensors["output.square.image_features"], atol=2e-5, rtol=1e-5)
    assert torch.allclose(words, tensors["output.text_features"], atol=2e-5, rtol=1e-5)
    wrong = tensors["contrast.erf_gelu.image_features"]
    assert not torch.allclose(square, wrong, atol=1e-3)  # the activation matters


@pytest.mark.parametrize("kind", ["bicubic", "bilinear"])
def test_equals_the_reference_features_of_a_portrait(golden, kind):
    tensors = load_file(golden / "open_clip_tiny.safetensors")
    state = {name.removeprefix("clip."): value for name, value in tensors.items() if name.startswith("clip.")}
    state["visual.positional_embedding"] = tensors[f"output.tall_{kind}.positional_embedding"]
    model = build(CONFIG, image_size=[96, 32])
    model.load_state_dict(state)
    image, _ = towers(model, CONFIG)
    with torch.no_grad():
        features = image(tensors["input.images_tall"], Tuner())
    assert torch.allclose(features, tensors[f"output.tall_{kind}.image_features"], atol=2e-5, rtol=1e-5)


# One member of every family that is walked now, cut to two blocks.
FAMILIES = {
    "ViT-B-16": {},
    "ViT-B-32-quickgelu": {},
    "ViT-L-14": {},
    "ViT-H-14": {},
    "ViT-S-16-alt": {},
    "ViT-M-16-alt": {},  # layer scale
    "no ln_pre": {"no_ln_pre": True},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_two_block_variants_equal_plain_open_clip(name):
    config = open_clip.get_model_config(name if name.startswith("ViT") else "ViT-S-16")
    config["vision_cfg"] |= {"layers": 2, "image_size": 64 if config["vision_cfg"]["patch_size"] != 14 else 56}
    config["vision_cfg"] |= FAMILIES[name]
    config["text_cfg"] |= {"layers": 2, "vocab_size": 500}
    torch.manual_seed(3)
    model = build(config)
    for parameter in model.parameters():  # biases and scales start at constants, which hide mistakes
        parameter.data += 0.02 * torch.randn_like(parameter)
    image, text = towers(model, config)
    side = config["vision_cfg"]["image_size"]
    pictures, ids = torch.randn(2, 3, side, side), torch.randint(1, 500, (3, 77))
    with torch.no_grad():
        assert relative(image(pictures, Tuner()), model.encode_image(pictures)) < 1e-5
        assert relative(text(ids, Tuner()), model.encode_text(ids)) < 1e-5


def test_full_vit_b_32_equals_plain_open_clip():
    backbone = load_backbone("ViT-B-32", "none")
    images = torch.randn(2, 3, 224, 224)
    ids = backbone.tokenizer(["a man in a red coat", "a " * 100])
    with torch.no_grad():
        assert relative(backbone.image(images, Tuner()), backbone.model.encode_image(images)) < 1e-5
        assert relative(backbone.text(ids, Tuner()), backbone.model.encode_text(ids)) < 1e-5


def test_every_site_is_asked_and_every_parameter_goes_through_the_weight_site():
    torch.manual_seed(0)
    model = build(CONFIG)
    image, text = towers(model, CONFIG)
    recorder = Recorder()
    tuner = Tuner({"recorder": recorder})
    pictures, ids = torch.randn(1, 3, 56, 56), torch.tensor([[94, 5, 95] + [0] * 17])
    with torch.no_grad():
        assert torch.equal(image(pictures, tuner), image(pictures, Tuner()))
        assert torch.equal(text(ids, tuner), text(ids, Tuner()))
    seen = set(recorder.seen)
    for tower in (image, text):
        assert {name for kind, site, name, *_ in (s for s in seen if s[1] == "weight") if kind == tower.kind} == set(
            tower.names()
        )
        for layer in range(2):
            for site in ("tokens", "key_value", "attention", "beside_mlp", "block"):
                assert (tower.kind, site, layer) in seen
            for name in ("q", "k", "v", "out", "fc1", "fc2"):
                assert (tower.kind, "linear", layer, name) in seen
        assert (tower.kind, "pool") in seen
    places = ["before_positions", "after_positions", "after_ln_pre"]
    assert [s[2] for s in recorder.seen if s[:2] == ("image", "embed")] == places
    assert [s[2] for s in recorder.seen if s[:2] == ("text", "embed")] == places[:2]
    assert set(image.names()) | set(text.names()) | {"logit_scale"} == set(dict(model.named_parameters()))


def test_nothing_in_the_model_changes():
    torch.manual_seed(0)
    model = build(CONFIG)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image, _ = towers(model, CONFIG)
    image(torch.randn(1, 3, 56, 56), Tuner({"recorder": Recorder()})).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class ExtraKeys(Component):
    """One key and value row in front, equal to the first text row's, so that row 0 counts twice."""

    towers = ("text",)

    def key_value(self, walk, layer, key, value):
        return torch.cat([key[:, :1], key], dim=1), torch.cat([value[:, :1], value], dim=1)


def test_extra_keys_are_seen_by_all_and_the_text_stays_causal():
    torch.manual_seed(0)
    model = build(CONFIG)
    _, text = towers(model, CONFIG)
    tuner = Tuner({"extra": ExtraKeys()})
    ids = torch.tensor([[94, 5, 95] + [0] * 17])
    later = ids.clone()
    later[0, 5:] = 7
    with torch.no_grad():
        assert torch.allclose(text(ids, tuner), text(later, tuner), atol=1e-6)  # rows after EOS are not seen
        assert not torch.allclose(text(ids, tuner), text(ids, Tuner()), atol=1e-4)


def test_walk_carries_rewritten_ids_to_the_pool():
    class Rewrite(Component):
        towers = ("text",)

        def reads_all_tokens(self):
            return True  # else the tower leaves out what stands behind the end token

        def embed(self, walk, place, tokens):
            if place == "before_positions":
                walk.ids = walk.ids.clone()
                walk.ids[:, 2], walk.ids[:, 6] = 1, 95  # EOS moves from row 2 to row 6
            return tokens

    torch.manual_seed(0)
    model = build(CONFIG)
    _, text = towers(model, CONFIG)
    ids = torch.tensor([[94, 5, 95] + [3] * 17])
    walk = Walk(text)
    with torch.no_grad():
        moved = text(ids, Tuner({"rewrite": Rewrite()}), walk)
        assert not torch.allclose(moved, text(ids, Tuner()), atol=1e-4)
    assert ids[0, 2] == 95  # the batch itself is not edited
    assert walk.ids[0, 6] == 95


def test_columns_behind_the_last_end_token_are_left_out_unless_they_are_read():
    class Rows(Component):
        towers = ("text",)

        def __init__(self, everything):
            super().__init__()
            self.everything, self.seen = everything, 0

        def reads_all_tokens(self):
            return self.everything

        def tokens(self, walk, layer, tokens):
            self.seen = tokens.shape[1]
            return tokens

    torch.manual_seed(0)
    model = build(CONFIG)
    _, text = towers(model, CONFIG)
    ids = torch.tensor([[94, 5, 95] + [0] * 17, [94, 5, 6, 7, 95] + [0] * 15])
    features = {}
    for everything in (False, True):
        rows = Rows(everything)
        with torch.no_grad():
            features[everything] = text(ids, Tuner({"rows": rows}))
        assert rows.seen == (20 if everything else 5)
    assert torch.allclose(features[False], features[True], atol=1e-6)
