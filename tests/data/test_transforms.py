from __future__ import annotations

import pickle

import pytest
import torch
from PIL import Image

from reidtune.backbone.preprocess import Preprocess
from reidtune.data import EvalTransform, TrainTransform
from reidtune.data.normalise import _look_up, normalise
from reidtune.errors import SettingsError
from tests.data.reference import reference_transform

PREPROCESS = Preprocess(16, 8, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))
MEAN = torch.tensor(PREPROCESS.mean).view(3, 1, 1)
STD = torch.tensor(PREPROCESS.std).view(3, 1, 1)


def picture():
    """An image without symmetry: red grows to the right, green downwards."""
    ramp = Image.linear_gradient("L")
    return Image.merge("RGB", (ramp.rotate(90), ramp, Image.new("L", ramp.size, 50))).resize((40, 30))


def test_evaluation_squashes_scales_and_normalises():
    tensor = EvalTransform(PREPROCESS)(picture())
    assert (tensor.shape, tensor.dtype, type(tensor)) == ((3, 16, 8), torch.float32, torch.Tensor)
    expected = picture().resize((8, 16), Image.Resampling.BICUBIC)
    values = torch.tensor(list(expected.tobytes())).view(16, 8, 3).permute(2, 0, 1) / 255
    torch.testing.assert_close(tensor, (values - MEAN) / STD)


def test_nothing_is_cut_off():
    portrait = Image.new("RGB", (10, 100), "white")
    portrait.paste("black", (0, 0, 10, 10))
    tensor = EvalTransform(PREPROCESS)(portrait) * STD + MEAN
    assert tensor[:, 0].max() < 0.1
    assert tensor[:, -1].min() > 0.9


def test_the_interpolation_is_the_one_of_the_backbone():
    bilinear = Preprocess(16, 8, PREPROCESS.mean, PREPROCESS.std, interpolation="bilinear")
    assert not torch.equal(EvalTransform(bilinear)(picture()), EvalTransform(PREPROCESS)(picture()))


def test_training_without_chance_is_evaluation():
    plain = TrainTransform(PREPROCESS, flip=0, pad=0, erase=0)
    assert torch.equal(plain(picture(), 1), EvalTransform(PREPROCESS)(picture()))


def test_a_flip_mirrors():
    flipped = TrainTransform(PREPROCESS, flip=1, pad=0, erase=0)(picture(), 1)
    assert torch.equal(flipped, EvalTransform(PREPROCESS)(picture()).flip(-1))


def test_padding_shifts_over_black():
    plain = EvalTransform(PREPROCESS)(picture())
    padded = torch.full((3, 16 + 6, 8 + 6), 0.0).sub(MEAN).div(STD)
    padded[:, 3:-3, 3:-3] = plain
    windows = {(y, x): padded[:, y : y + 16, x : x + 8] for y in range(7) for x in range(7)}
    transform = TrainTransform(PREPROCESS, flip=0, pad=3, erase=0)
    seen = set()
    for seed in range(30):
        result = transform(picture(), seed)
        hits = [shift for shift, window in windows.items() if torch.allclose(result, window, atol=1e-6)]
        assert len(hits) == 1
        seen.add(hits[0])
    assert len(seen) > 15


def test_erasing_fills_a_rectangle_with_the_mean_colour():
    plain = EvalTransform(PREPROCESS)(picture())
    erased = TrainTransform(PREPROCESS, flip=0, pad=0, erase=1)
    areas = []
    for seed in range(30):
        result = erased(picture(), seed)
        changed = (result != plain).any(0)
        rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        assert (result[:, top:bottom, left:right] == 0).all()
        areas.append(int(changed.sum()) / changed.numel())
    assert 0.01 < min(areas) < 0.15 < max(areas) < 0.45


def test_the_seed_decides_and_nothing_else():
    transform = TrainTransform(PREPROCESS)
    torch.manual_seed(1)
    first = transform(picture(), 7)
    torch.manual_seed(2)
    torch.rand(3)
    assert torch.equal(transform(picture(), 7), first)
    assert len({transform(picture(), seed).numpy().tobytes() for seed in range(8)}) == 8


def test_the_generator_of_the_caller_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    TrainTransform(PREPROCESS)(picture(), 7)
    assert torch.equal(torch.rand(4), expected)


def test_accelerator_generators_are_never_seeded(monkeypatch):
    monkeypatch.setattr(torch, "manual_seed", lambda *_: pytest.fail("seeds every device"))
    TrainTransform(PREPROCESS)(picture(), 7)


def test_transforms_travel_to_worker_processes():
    transform = pickle.loads(pickle.dumps(TrainTransform(PREPROCESS)))
    assert torch.equal(transform(picture(), 3), TrainTransform(PREPROCESS)(picture(), 3))


@pytest.mark.parametrize("values", [{"flip": 1.5}, {"erase": -0.1}, {"pad": -1}])
def test_values_out_of_range_are_refused(values):
    (name,) = values
    with pytest.raises(SettingsError, match=name):
        TrainTransform(PREPROCESS, **values)


CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@pytest.mark.parametrize(
    ("size", "interpolation", "options"),
    [
        ((64, 32), "bicubic", (0.5, 10, 0.5)),
        ((16, 8), "bilinear", (0.3, 20, 0.7)),  # padded by more than the image is wide
        ((8, 16), "lanczos", (0.0, 0, 1.0)),
        ((2, 2), "nearest-exact", (1.0, 1, 1.0)),  # too small for a rectangle
    ],
)
def test_training_is_bit_for_bit_what_torchvision_does(size, interpolation, options):
    preprocess = Preprocess(*size, *CLIP, interpolation)
    transform, reference = TrainTransform(preprocess, *options), reference_transform(preprocess, *options)
    for seed in range(60):
        image = noise(seed, size[0] if seed % 10 == 0 else 5 + seed, size[1] if seed % 10 == 0 else 47)
        assert transform(image, seed).numpy().tobytes() == reference(image, seed).numpy().tobytes(), seed
        assert torch.equal(EvalTransform(preprocess)(image), reference_transform(preprocess)(image))


def test_the_table_for_other_devices_has_the_very_numbers():
    preprocess = Preprocess(6, 4, *CLIP)
    pixels = torch.arange(7 * 2 * 72, dtype=torch.int64).mul(37).to(torch.uint8).view(7, 2, 3, 6, 4)
    assert len(pixels.unique()) == 256
    erased = torch.tensor([[0, 0, 0, 0], [1, 2, 3, 2], [0, 0, 6, 4]])[torch.arange(14) % 3].view(7, 2, 4)
    plain = normalise(pixels, erased, preprocess)
    other = normalise(pixels, erased, preprocess, torch.device("cpu:0"))
    looked_up = _look_up(pixels.view(-1, 3, 6, 4), erased.view(-1, 4), preprocess, torch.device("cpu"))
    assert torch.equal(plain, other)
    assert torch.equal(looked_up.view(plain.shape), plain)
    assert not plain[0, 1, :, 1:4, 2:].any()
    assert plain[0, 1, :, 0].all()
    assert normalise(pixels[:0], erased[:0], preprocess).shape == (0, 2, 3, 6, 4)


def noise(seed, height, width):
    values = torch.randint(256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(values.numpy())
