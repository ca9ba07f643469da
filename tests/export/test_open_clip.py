"""A merged folder is what plain open_clip loads, with the features of backbone + delta, preprocessing included."""

import json

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from reidtune.delta import write_delta
from reidtune.errors import ReidtuneError, SettingsError
from reidtune.export import open_clip as module
from reidtune.export.open_clip import export_open_clip
from reidtune.methods.registry import find_method
from reidtune.model import Model, load


@pytest.fixture
def tuned(small_backbone, header_for, tmp_path):
    def make(name, **settings):
        page = find_method(name)
        method = page(page.Settings(**settings))
        tuner = method.tuner(small_backbone)
        with torch.no_grad():
            for parameter in tuner.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        path = tmp_path / f"{name}.safetensors"
        write_delta(path, tuner.tensors(), header_for(method, small_backbone))
        return load(path, backbone=f"local-dir:{small_backbone.architecture.folder}")

    return make


@pytest.mark.parametrize(("name", "settings"), [("lora", {"targets": ("q", "out", "fc2")}), ("full", {})])
def test_plain_open_clip_gives_the_same_features_of_a_picture(tuned, tmp_path, name, settings):
    model = tuned(name, **settings)
    result = export_open_clip(model, tmp_path / "merged")
    assert result["largest_difference"] < 1e-5
    assert {path.name for path in (tmp_path / "merged").iterdir()} == {module.CONFIG, module.WEIGHTS}
    plain, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'merged'}")
    picture = Image.effect_noise((50, 90), 80).convert("RGB")
    with torch.no_grad():
        theirs = plain.eval().encode_image(preprocess(picture)[None], normalize=True)
    ours = model.embed_images([picture])
    assert torch.allclose(ours, theirs, atol=1e-5)
    untuned = Model(model.backbone).embed_images([picture])
    assert not torch.allclose(ours, untuned, atol=1e-3)


def test_the_folder_says_how_images_go_in(tuned, tmp_path):
    export_open_clip(tuned("lora"), tmp_path / "merged")
    content = json.loads((tmp_path / "merged" / module.CONFIG).read_text())
    assert content["model_cfg"]["quick_gelu"] is True
    assert content["model_cfg"]["vision_cfg"]["image_size"] == [32, 16]
    assert content["preprocess_cfg"]["resize_mode"] == "squash"
    assert len(content["preprocess_cfg"]["mean"]) == len(content["preprocess_cfg"]["std"]) == 3


def test_an_export_is_a_backbone_again(tuned, tmp_path):
    model = tuned("lora")
    export_open_clip(model, tmp_path / "merged")
    picture = Image.effect_noise((20, 40), 60).convert("RGB")
    again = load(backbone=f"local-dir:{tmp_path / 'merged'}")
    assert torch.allclose(again.embed_images([picture]), model.embed_images([picture]), atol=1e-5)


def test_methods_with_rows_or_branches_are_refused_with_the_alternative(tuned, tmp_path):
    for name in ("vpt", "adapter"):
        with pytest.raises(SettingsError, match=f"The method {name} adds rows or branches") as error:
            export_open_clip(tuned(name), tmp_path / "merged")
        assert "lora" in error.value.hint
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("name", ["lora", "full", "bias"])
def test_what_all_modalities_share_is_merged(multimodal_delta, small_backbone, tmp_path, name):
    model = load(multimodal_delta(name), backbone=f"local-dir:{small_backbone.architecture.folder}")
    result = export_open_clip(model, tmp_path / "merged")
    assert result["modalities"] == ["rgb", "nir", "tir"]
    plain, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'merged'}")
    pictures = [Image.effect_noise((50, 90 + place), 80).convert("RGB") for place in range(2)]
    with torch.no_grad():
        rgb, tir = (plain.eval().encode_image(preprocess(picture)[None])[0] for picture in pictures)
    joined = torch.nn.functional.normalize(torch.cat([rgb, torch.zeros(24), tir]), dim=0)
    assert torch.allclose(model.embed_samples([dict(zip(("rgb", "tir"), pictures, strict=True))])[0], joined, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        (
            "dmpt",
            {"texts": {"rgb": "a", "tir": "b"}, "bind_layers": 1},
            "The method dmpt has parts for each of rgb, tir",
        ),
        ("mambapro", {}, "The method mambapro has parts for each of rgb, tir"),
        ("lora", {"per_modality": True}, "This delta of lora has parts of its own for each of rgb, tir (per_modality)"),
    ],
)
def test_parts_for_each_modality_are_refused_with_what_works(
    multimodal_delta, small_backbone, tmp_path, name, settings, sentence
):
    path = multimodal_delta(name, ("rgb", "tir"), **settings)
    model = load(path, backbone=f"local-dir:{small_backbone.architecture.folder}")
    with pytest.raises(SettingsError) as error:
        export_open_clip(model, tmp_path / "merged")
    assert error.value.message == f"{sentence}, but plain open_clip has one image tower for all images, so it " + (
        "cannot be merged."
    )
    assert "embed_samples" in error.value.hint
    assert "--to half" in error.value.hint
    assert not (tmp_path / "merged").exists()


def test_existing_folders(tuned, tmp_path):
    model = tuned("lora")
    merged = tmp_path / "merged"
    export_open_clip(model, merged)
    before = load_file(merged / module.WEIGHTS)["visual.proj"]
    with pytest.raises(SettingsError, match="exists"):
        export_open_clip(model, merged)
    export_open_clip(tuned("full"), merged, force=True)
    assert not torch.equal(load_file(merged / module.WEIGHTS)["visual.proj"], before)
    (merged / "mine.txt").write_text("keep me")
    with pytest.raises(SettingsError, match="holds other things"):
        export_open_clip(model, merged, force=True)
    assert (merged / "mine.txt").exists()


def test_a_wrong_merge_is_noticed_and_nothing_is_left(tuned, tmp_path, monkeypatch):
    model = tuned("lora")
    right = model.tuner.merge

    def twice(values, towers):
        return right(values, towers) and right(values, towers)

    monkeypatch.setattr(model.tuner, "merge", twice)
    with pytest.raises(ReidtuneError, match="differs from backbone"):
        export_open_clip(model, tmp_path / "merged")
    assert not [path for path in tmp_path.iterdir() if "merged" in path.name]
