"""Samples of several modalities through the public Python API."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import reidtune

NAMES = ("rgb", "nir", "tir")


@pytest.fixture
def name(small_backbone):
    return f"local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def model(multimodal_delta, name):
    return reidtune.load(multimodal_delta(), backbone=name)


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (40 + i, 20, 3), dtype=np.uint8)) for i in range(6)]


def raw(model, picture):
    """The feature of one image as the tower gives it."""
    from reidtune.data.transforms import EvalTransform

    with torch.no_grad():
        return model.encode_images(EvalTransform(model.backbone.preprocess)(picture)[None])[0]


def test_the_features_of_a_samples_images_stand_side_by_side(model, pictures):
    samples = [dict(zip(NAMES, pictures[:3], strict=True)), dict(zip(NAMES, pictures[3:], strict=True))]
    features = model.embed_samples(samples)
    assert (features.shape, features.dtype, features.device.type) == ((2, 72), torch.float32, "cpu")
    assert not features.requires_grad
    expected = [torch.cat([raw(model, sample[name]) for name in NAMES]) for sample in samples]
    assert torch.allclose(features, F.normalize(torch.stack(expected), dim=1), atol=1e-5)


def test_zeros_stand_where_a_modality_is_missing(model, pictures):
    feature = model.embed_samples([{"tir": pictures[0], "rgb": pictures[1]}])[0]
    expected = torch.cat([raw(model, pictures[1]), torch.zeros(24), raw(model, pictures[0])])
    assert torch.allclose(feature, F.normalize(expected, dim=0), atol=1e-5)
    assert not feature[24:48].any()


def test_other_names_of_modalities_and_other_kinds_of_images(model, pictures, tmp_path):
    expected = model.embed_samples([dict(zip(NAMES, pictures, strict=False))])
    pictures[0].save(tmp_path / "a.png")
    tensor = torch.from_numpy(np.array(pictures[2])).permute(2, 0, 1)
    given = {"TH": tensor, "VIS": str(tmp_path / "a.png"), "near-infrared": pictures[1]}
    for samples in ([given], given, (sample for sample in [given])):
        assert torch.equal(model.embed_samples(samples), expected)


@pytest.mark.parametrize("method", ["lora", "dmpt"])
def test_neither_batches_nor_neighbours_change_a_feature(multimodal_delta, name, pictures, method):
    texts = {name: f"a {name} photo" for name in NAMES}
    settings = {"texts": texts, "bind_layers": 1} if method == "dmpt" else {}
    model = reidtune.load(multimodal_delta(method, **settings), backbone=name)
    samples = [{"rgb": pictures[0]}, dict(zip(NAMES, pictures, strict=False)), {"tir": pictures[3], "nir": pictures[4]}]
    together = model.embed_samples(samples)
    assert torch.allclose(model.embed_samples(samples, batch_size=1), together, atol=1e-5)
    assert torch.allclose(model.embed_samples(samples[::-1], batch_size=2), together.flip(0), atol=1e-5)
    assert together.isfinite().all()


def test_no_samples_give_empty_features(model):
    assert model.embed_samples([]).shape == (0, 72)


def test_a_backbone_alone_embeds_samples_of_named_modalities(name, pictures):
    model = reidtune.load(backbone=name, modalities=("VIS", "thermal"))
    assert model.modalities == ("rgb", "tir")
    assert model.embed_samples([{"tir": pictures[0]}]).shape == (1, 48)
    assert model.embed_images(pictures).shape == (6, 24)
    assert model.embed_images([]).shape == (0, 24)
    assert reidtune.load(backbone=name, modalities="tir, sketch").modalities == ("tir", "sketch")


def test_a_delta_of_single_images_may_embed_samples(small_backbone, header_for, name, pictures, tmp_path):
    from reidtune.delta import write_delta
    from reidtune.methods.registry import find_method

    page = find_method("vpt")
    method = page(page.Settings(tokens=2))
    write_delta(tmp_path / "vpt", method.tuner(small_backbone).tensors(), header_for(method, small_backbone))
    model = reidtune.load(tmp_path / "vpt", backbone=name, modalities=NAMES)
    assert model.embed_samples([{"nir": pictures[0]}]).shape == (1, 72)
    with pytest.raises(reidtune.SettingsError, match="embeds single images") as error:
        reidtune.load(tmp_path / "vpt", backbone=name).embed_samples([{"nir": pictures[0]}])
    assert "modalities=" in error.value.hint


def test_single_images_are_refused_by_a_delta_of_samples(model, pictures):
    with pytest.raises(reidtune.SettingsError, match="embeds samples of several images: rgb, nir, tir") as error:
        model.embed_images(pictures)
    assert 'model.embed_samples([{"rgb": "a.jpg"}])' in error.value.hint


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        ([{}], "A sample has no image"),
        ([{"rgbb": "a.jpg"}], 'knows no modality "rgbb". Did you mean "rgb"?'),
        ([{"depth": "a.jpg"}], 'knows no modality "depth"'),
        ([{"rgb": "a.jpg", "vis": "b.jpg"}], "two images of the modality rgb"),
        ([{3: "a.jpg"}], "An int is not the name of a modality"),
        ([{"rgb": 3}], "An int is not an image"),
        ([{"rgb": torch.zeros(3, 4, 0, dtype=torch.uint8)}], "has no pixels"),
        (["a.jpg"], "A str is not a sample"),
        ("a.jpg", "A str is not a list of samples"),
        (None, "A NoneType is not a list of samples"),
    ],
)
def test_what_is_no_sample_says_so(model, samples, sentence):
    with pytest.raises(reidtune.SettingsError) as error:
        model.embed_samples(samples)
    assert sentence in error.value.message
    assert error.value.hint


def test_files_and_batch_sizes_are_checked(model, pictures, tmp_path):
    with pytest.raises(reidtune.DataError, match=r"missing\.jpg"):
        model.embed_samples([{"rgb": tmp_path / "missing.jpg"}])
    with pytest.raises(reidtune.SettingsError, match="batch size is 0"):
        model.embed_samples([{"rgb": pictures[0]}], batch_size=0)
    with pytest.raises(reidtune.SettingsError, match="A dict is not an image"):
        reidtune.load(backbone=f"local-dir:{model.backbone.architecture.folder}").embed_images({"rgb": pictures[0]})


@pytest.mark.parametrize("names", ["rgb,,tir", ("rgb", "vis"), ["rgb", ""]])
def test_modalities_that_cannot_be(name, names):
    with pytest.raises(reidtune.SettingsError, match="The modalities are rgb"):
        reidtune.load(backbone=name, modalities=names)


def test_a_delta_brings_its_own_modalities(multimodal_delta, name):
    path = multimodal_delta(modalities=("rgb", "nir"))
    assert reidtune.load(path, backbone=name).modalities == ("rgb", "nir")
    with pytest.raises(reidtune.SettingsError, match="brings its own modalities: rgb, nir"):
        reidtune.load(path, backbone=name, modalities=("rgb",))
