"""The public Python API."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import reidtune
from reidtune.delta import write_delta
from reidtune.methods.registry import find_method


@pytest.fixture
def name(small_backbone):
    return f"local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def delta(small_backbone, header_for, tmp_path):
    page = find_method("vpt")
    method = page(page.Settings(tokens=2))
    path = tmp_path / "delta.safetensors"
    write_delta(path, method.tuner(small_backbone).tensors(), header_for(method, small_backbone))
    return path


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (40 + i, 20, 3), dtype=np.uint8)) for i in range(5)]


def test_importing_the_package_loads_neither_torch_nor_numpy():
    code = "import sys, reidtune; print([m for m in ('torch', 'numpy', 'pydantic', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    assert all(getattr(reidtune, name) is not None for name in reidtune.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = reidtune.nothing


def test_a_delta_and_its_backbone_embed_differently(delta, name, pictures, capfd):
    tuned, plain = reidtune.load(delta, backbone=name), reidtune.load(backbone=name)
    features = tuned.embed_images(pictures)
    assert features.shape == (5, 24)
    assert features.dtype == torch.float32
    assert torch.allclose(features.norm(dim=1), torch.ones(5), atol=1e-5)
    assert not features.requires_grad
    assert not torch.allclose(features, plain.embed_images(pictures), atol=1e-3)
    assert tuned.header.method == "vpt"
    assert plain.header is None
    assert capfd.readouterr() == ("", "")


def test_batches_do_not_change_features(delta, name, pictures):
    model = reidtune.load(delta, backbone=name)
    assert torch.allclose(model.embed_images(pictures, batch_size=2), model.embed_images(pictures), atol=1e-5)
    words = ["a man", "a woman in a long red coat", "hat"]
    assert torch.allclose(model.embed_texts(words, batch_size=1), model.embed_texts(words), atol=1e-5)


def test_paths_pictures_and_tensors_are_the_same_image(name, pictures, tmp_path):
    model = reidtune.load(backbone=name)
    picture = pictures[0]
    picture.save(tmp_path / "a.png")
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    expected = model.embed_images([picture])
    for given in ([tmp_path / "a.png"], [str(tmp_path / "a.png")], [tensor], tensor[None], tensor, picture):
        assert torch.equal(model.embed_images(given), expected)
    transparent = picture.convert("RGBA")
    grey = Image.fromarray(np.full((30, 20), 40_000, dtype=np.uint16))
    assert torch.equal(model.embed_images([transparent]), expected)
    assert model.embed_images([grey, picture.convert("P")]).isfinite().all()


def test_nothing_gives_empty_features(name):
    model = reidtune.load(backbone=name)
    assert model.embed_images([]).shape == (0, 24)
    assert model.embed_texts([]).shape == (0, 24)
    assert model.embed_texts("one text").shape == (1, 24)


def test_texts_are_those_of_open_clip(small_backbone, name):
    words = ["a man in a red coat", "a " * 200]
    with torch.no_grad():
        expected = small_backbone.model.encode_text(small_backbone.tokenizer(words), normalize=True)
    assert torch.allclose(reidtune.load(backbone=name).embed_texts(words), expected, atol=1e-5)


def test_what_is_no_image_says_so(name, tmp_path):
    model = reidtune.load(backbone=name)
    with pytest.raises(reidtune.SettingsError, match=r"A tensor of shape \(3, 4, 4\) and type torch.float32 is not"):
        model.embed_images([torch.zeros(3, 4, 4)])
    with pytest.raises(reidtune.SettingsError, match="An int is not an image"):
        model.embed_images([3])
    with pytest.raises(reidtune.DataError, match="missing"):
        model.embed_images([tmp_path / "missing.jpg"])


@pytest.mark.parametrize("given", [None, 3, 2.5])
def test_what_is_no_list_of_images_or_texts_says_so(name, given):
    model = reidtune.load(backbone=name)
    with pytest.raises(reidtune.SettingsError, match="is not an image"):
        model.embed_images(given)
    for texts in (given, ["fine", given]):
        with pytest.raises(reidtune.SettingsError, match="is not a text"):
            model.embed_texts(texts)


def test_generators_serve_as_lists(name, pictures):
    model = reidtune.load(backbone=name)
    assert torch.equal(model.embed_images(picture for picture in pictures), model.embed_images(pictures))
    assert torch.equal(model.embed_texts(word for word in ("a", "b")), model.embed_texts(["a", "b"]))


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_below_1_is_refused_and_never_gives_empty_features(name, pictures, size):
    model = reidtune.load(backbone=name)
    with pytest.raises(reidtune.SettingsError, match=f"batch size is {size}"):
        model.embed_images(pictures, batch_size=size)
    with pytest.raises(reidtune.SettingsError, match=f"batch size is {size}"):
        model.embed_texts(["a"], batch_size=size)


def test_images_without_pixels_are_refused(name):
    model = reidtune.load(backbone=name)
    for empty in (Image.new("RGB", (0, 5)), torch.zeros(3, 4, 0, dtype=torch.uint8)):
        with pytest.raises(reidtune.SettingsError, match="has no pixels"):
            model.embed_images([empty])


def test_image_size_and_device_are_taken_as_the_command_line_takes_them(name):
    model = reidtune.load(backbone=name, image_size="64x16", device="auto")
    assert (model.backbone.preprocess.height, model.backbone.preprocess.width) == (64, 16)
    for words in ("gpu", "cuda:99"):
        with pytest.raises(reidtune.SettingsError, match=words):
            reidtune.load(backbone=name, device=words)
    with pytest.raises(reidtune.SettingsError, match="HEIGHTxWIDTH"):
        reidtune.load(backbone=name, image_size="64")


def test_errors_carry_a_message_and_a_hint(delta, name, tmp_path):
    with pytest.raises(reidtune.DeltaError) as error:
        reidtune.load(delta, backbone="tiny")
    assert isinstance(error.value, reidtune.ReidtuneError)
    assert error.value.message
    assert "--backbone" in error.value.hint
    with pytest.raises(reidtune.SettingsError, match="brings its own image size"):
        reidtune.load(delta, backbone=name, image_size=(32, 32))
    with pytest.raises(reidtune.SettingsError, match="Say where it is|trained on the model folder"):
        reidtune.load(delta)


def test_a_delta_of_a_weights_file_asks_for_a_copy(small_backbone, header_for, tmp_path):
    page = find_method("vpt")
    method = page(page.Settings())
    header = header_for(method, small_backbone)
    header["backbone"] = {**header["backbone"], "name": "ViT-B-16", "pretrained": "mine.pt"}
    write_delta(tmp_path / "d.safetensors", method.tuner(small_backbone).tensors(), header)
    with pytest.raises(reidtune.SettingsError, match="a file called mine.pt, which is not here") as error:
        reidtune.load(tmp_path / "d.safetensors")
    assert "--pretrained FILE" in error.value.hint


def test_tuned_weights_are_refused_by_name(delta, small_backbone, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(small_backbone.architecture.folder, other)
    state = load_file(other / "open_clip_model.safetensors")
    state["visual.ln_post.bias"] += 1e-4
    save_file(state, other / "open_clip_model.safetensors")
    with pytest.raises(reidtune.DeltaError, match=r'the tensor "visual\.ln_post\.bias" has other values'):
        reidtune.load(delta, backbone=f"local-dir:{other}")
    with pytest.raises(
        reidtune.DeltaError, match='activation = "quick_gelu", but this backbone has activation = "gelu"'
    ):
        reidtune.load(delta, backbone=f"local-dir:{small_backbone.architecture.folder}", activation="gelu")
