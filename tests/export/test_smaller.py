"""Smaller deltas from large ones, and what they lose."""

import pytest
import torch
from PIL import Image

from reidtune.delta import read_header, read_tensors, write_delta
from reidtune.errors import SettingsError
from reidtune.export.formats import export_delta
from reidtune.methods.registry import find_method
from reidtune.model import load


@pytest.fixture
def full(small_backbone, header_for, tmp_path):
    """``make(strong)``: a delta of full whose matrices have that many strong directions, and its file."""

    def make(strong, name="full", **settings):
        page = find_method(name)
        method = page(page.Settings(**settings))
        tuner = method.tuner(small_backbone)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for value in tuner.parameters():
                rows, columns = value.shape[0], value[0].numel()
                if value.ndim == 1:
                    value.normal_(std=0.01, generator=generator)
                    continue
                left = torch.randn(rows, strong, generator=generator)
                right = torch.randn(strong, columns, generator=generator)
                value.copy_(0.01 * (left @ right).view(value.shape))
        path = tmp_path / "large.safetensors"
        write_delta(path, tuner.tensors(), header_for(method, small_backbone))
        return path, method, tuner.eval()

    return make


def features(small_backbone, path):
    header = read_header(path)
    page = find_method(header.method)
    tuner = page(page.Settings(**header.settings)).tuner(small_backbone)
    tuner.load_tensors(read_tensors(path))
    images = torch.randn(3, 3, 32, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return small_backbone.image(images, tuner.eval())


def test_what_has_the_rank_already_loses_nothing_but_size(full, small_backbone, tmp_path):
    path, _, _ = full(strong=2)
    output = tmp_path / "small.safetensors"
    result = export_delta(path, "low-rank", output, rank=2)
    assert result["relative_error"] < 1e-3
    assert result["bytes"] < 0.75 * result["bytes_before"] == 0.75 * path.stat().st_size
    assert torch.allclose(features(small_backbone, output), features(small_backbone, path), atol=1e-4)
    assert read_header(output).settings["difference_rank"] == 2
    assert read_header(output).metrics["made"]["from"] == read_header(path).digest


def test_the_error_is_that_of_the_matrices_that_the_file_gives_back(full, tmp_path):
    path, _, _ = full(strong=6)
    result = export_delta(path, "low-rank", tmp_path / "small.safetensors", rank=3)
    before, after = read_tensors(path), read_tensors(tmp_path / "small.safetensors")
    lost = whole = 0.0
    for name, value in before.items():
        back = after[name] if name in after else (after[f"{name}/left"] @ after[f"{name}/right"]).view(value.shape)
        lost += float((value - back).square().sum())
        whole += float(value.square().sum())
    assert 0.05 < result["relative_error"] < 0.95
    assert result["relative_error"] == pytest.approx((lost / whole) ** 0.5, rel=1e-3)


def test_a_higher_rank_loses_less(full, tmp_path):
    path, _, _ = full(strong=8)
    errors = [
        export_delta(path, "low-rank", tmp_path / f"{rank}.safetensors", rank=rank)["relative_error"]
        for rank in (1, 3, 6)
    ]
    assert errors[0] > errors[1] > errors[2] > 0


def test_half_is_half_the_values_and_close(full, small_backbone, tmp_path):
    path, _, _ = full(strong=4)
    output = tmp_path / "half.safetensors"
    result = export_delta(path, "half", output)
    values = sum(value.numel() for value in read_tensors(path).values())
    assert result["bytes_before"] - result["bytes"] == pytest.approx(2 * values, abs=2000)
    assert {value.dtype for value in read_tensors(output).values()} == {torch.float16}
    assert 0 < result["relative_error"] < 1e-3
    assert torch.allclose(features(small_backbone, output), features(small_backbone, path), atol=1e-3)


def test_prompts_of_prompt_decoupling_stay_whole(full, tmp_path):
    path, _, _ = full(strong=4, name="prompt-decoupling", tokens=2)
    export_delta(path, "low-rank", tmp_path / "small.safetensors", rank=2)
    before, after = read_tensors(path), read_tensors(tmp_path / "small.safetensors")
    for name in ("image_prompts.prompts", "text_prompts.prompts", "image_difference.class_embedding"):
        assert torch.equal(before[name], after[name])
    assert "text_difference.token_embedding/weight/left" in after


def test_a_half_delta_becomes_low_rank_too(full, tmp_path):
    path, _, _ = full(strong=2)
    half, small = tmp_path / "half.safetensors", tmp_path / "small.safetensors"
    export_delta(path, "half", half)
    assert export_delta(half, "low-rank", small, rank=2)["relative_error"] < 0.01


def test_the_delta_itself_is_never_replaced(full):
    path, _, _ = full(strong=2)
    with pytest.raises(SettingsError, match="is the delta itself"):
        export_delta(path, "half", path, force=True)


def test_what_cannot_be_made_smaller_says_so(full, tmp_path, small_backbone, header_for):
    path, _, _ = full(strong=4)
    small = tmp_path / "small.safetensors"
    export_delta(path, "low-rank", small, rank=2)
    with pytest.raises(SettingsError, match="is of rank 2 already"):
        export_delta(small, "low-rank", tmp_path / "again.safetensors", rank=1)
    with pytest.raises(SettingsError, match="exists"):
        export_delta(path, "low-rank", small, rank=2)
    with pytest.raises(SettingsError, match="--rank has no meaning for half"):
        export_delta(path, "half", tmp_path / "x.safetensors", rank=2)
    page = find_method("lora")
    method = page(page.Settings())
    other = tmp_path / "lora.safetensors"
    write_delta(other, method.tuner(small_backbone).tensors(), header_for(method, small_backbone))
    with pytest.raises(SettingsError, match="holds no full difference"):
        export_delta(other, "low-rank", tmp_path / "y.safetensors", rank=2)


@pytest.mark.parametrize(("name", "to"), [("dmpt", "half"), ("full", "half"), ("full", "low-rank")])
def test_a_smaller_delta_of_samples_embeds_samples(multimodal_delta, small_backbone, tmp_path, name, to):
    texts = {"texts": {"rgb": "a", "nir": "b", "tir": "c"}, "bind_layers": 1}
    path, small = multimodal_delta(name, **(texts if name == "dmpt" else {})), tmp_path / "small.safetensors"
    result = export_delta(path, to, small, rank=14 if to == "low-rank" else None)
    assert result["bytes"] < result["bytes_before"]
    assert 0 < result["relative_error"] < 0.6
    samples = [{"rgb": Image.linear_gradient("L"), "tir": Image.radial_gradient("L")}]
    backbone, names = f"local-dir:{small_backbone.architecture.folder}", ("rgb", "nir", "tir")
    models = [load(path, backbone=backbone), load(small, backbone=backbone), load(backbone=backbone, modalities=names)]
    assert models[1].modalities == names
    before, after, untuned = (model.embed_samples(samples) for model in models)
    lost = float((after - before).norm() / (untuned - before).norm())
    assert lost < (0.01 if to == "half" else 0.7)
