"""Frozen matrices in bf16: the same bits as autocast alone gives."""

import pytest
import torch

from reidtune.backbone.load import load_backbone
from reidtune.config import validate_settings
from reidtune.methods.registry import find_method
from reidtune.model import Model
from reidtune.training.precision import autocast, hold_in_bf16


def model_of(name, settings):
    backbone = load_backbone("tiny")
    page = find_method(name)
    model = Model(backbone, page(validate_settings(page.Settings, settings)).tuner(backbone))
    with torch.no_grad():
        for parameter in model.tuner.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model


def result(model):
    preprocess = model.backbone.preprocess
    images = torch.randn(3, 3, preprocess.height, preprocess.width, generator=torch.Generator().manual_seed(2))
    ids = model.backbone.tokenizer(["a man", "a woman in a red coat", "somebody"])
    model.tuner.zero_grad()
    with autocast(model, "bf16"):
        outputs = [model.encode_images(images), model.encode_texts(ids)]
    sum(value.float().square().sum() for value in outputs).backward()
    return outputs, [parameter.grad for parameter in model.tuner.parameters()]


@pytest.mark.parametrize(
    ("name", "settings"), [("lora", {"towers": "both"}), ("dm-adapter", {}), ("cskt", {}), ("bias", {})]
)
def test_features_and_gradients_are_the_same_bits_and_memory_is_freed(name, settings):
    plain, held = model_of(name, settings), model_of(name, settings)
    before = sum(value.numel() * value.element_size() for value in held.backbone.model.parameters())
    freed = hold_in_bf16(held)
    after = sum(value.numel() * value.element_size() for value in held.backbone.model.parameters())
    assert freed == before - after > 0.05 * before  # the tiny backbone is word embeddings for the most part
    one, other = result(plain), result(held)
    for ours, theirs in zip([*one[0], *one[1]], [*other[0], *other[1]], strict=True):
        assert torch.equal(ours, theirs)


def test_what_a_method_trains_stays_in_fp32():
    model = model_of("full", {"towers": "both"})
    assert hold_in_bf16(model) == 0
    assert {value.dtype for value in model.backbone.model.parameters()} == {torch.float32}
