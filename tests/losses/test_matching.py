"""Matching losses of pairs; tests/golden/losses.json explains the reference numbers."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from reidtune.losses import (
    cross_modal_projection_matching,
    image_text_contrast,
    similarity_distribution_matching,
)

ALL_DIFFERENT = torch.arange(12)


def pairs(count=6, width=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, width, generator=generator, dtype=dtype, requires_grad=True) for _ in range(2)]


def close(actual, expected):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "loss"),
    [
        ("sdm", lambda image, text, t: similarity_distribution_matching(image, text, t["itm.pids"])),
        ("sdm_scale10", lambda image, text, t: similarity_distribution_matching(image, text, t["itm.pids"], 0.1)),
        ("sdm_unique", lambda image, text, t: similarity_distribution_matching(image, text, ALL_DIFFERENT)),
        (
            "sdm_image_soft",
            lambda image, text, t: similarity_distribution_matching(
                image, text, t["itm.pids"], image_ids=t["itm.image_ids"], columns=True
            ),
        ),
        ("itc", lambda image, text, t: image_text_contrast(image, text)),
        ("cmpm", lambda image, text, t: cross_modal_projection_matching(image, text, t["itm.pids"])),
    ],
)
def test_value_and_gradients_equal_the_reference(golden, case, loss):
    tensors = load_file(golden / "losses.safetensors")
    image, text = (tensors[f"itm.{name}"].clone().requires_grad_() for name in ("image", "text"))
    value = loss(image, text, tensors)
    value.backward()
    close(value.detach(), tensors[f"{case}.value"])
    for name, gradient in (("image", image.grad), ("text", text.grad)):
        torch.testing.assert_close(gradient, tensors[f"{case}.grad_{name}"], rtol=1e-4, atol=2e-5)


def test_sdm_by_hand():
    """Three pairs, the first two of one person; unit features, temperature 1."""
    angles = torch.tensor([[0.0, 60.0, 90.0], [0.0, 0.0, 180.0]], dtype=torch.float64).deg2rad()
    image, text = (torch.stack([row.cos(), row.sin()], 1) for row in angles)
    cosines = [[1.0, 1.0, -1.0], [0.5, 0.5, -0.5], [0.0, 0.0, 0.0]]
    target = [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    total = 0.0
    for rows in (cosines, list(zip(*cosines, strict=True))):
        for row, wanted in zip(rows, target, strict=True):
            whole = sum(map(math.exp, row))
            for entry, q in zip(row, wanted, strict=True):
                p = math.exp(entry) / whole
                total += p * (math.log(p) - math.log(q + 1e-8)) / 3
    value = similarity_distribution_matching(3 * image, 7 * text, torch.tensor([4, 4, 9]), temperature=1.0)
    assert value.item() == pytest.approx(total, abs=1e-12)
    assert total > 5  # not a case in which everything cancels


def test_sdm_is_zero_where_similarities_are_as_the_persons():
    features = torch.eye(4, dtype=torch.float64)[[0, 1, 1, 2]]
    assert similarity_distribution_matching(features, features, torch.tensor([0, 1, 1, 2])).item() == pytest.approx(
        0, abs=1e-6
    )


def test_persons_that_are_all_different_have_the_identity_as_target():
    image, text = pairs()
    logits = torch.nn.functional.normalize(image, dim=1) @ torch.nn.functional.normalize(text, dim=1).T / 0.02
    target = (torch.eye(6, dtype=torch.float64) + 1e-8).log()
    expected = sum((side.softmax(1) * (side.log_softmax(1) - target)).sum(1).mean() for side in (logits, logits.T))
    close(similarity_distribution_matching(image, text, torch.tensor([5, 3, 9, 0, 7, 1])), expected)


@pytest.mark.parametrize(
    "loss",
    [
        similarity_distribution_matching,
        partial(similarity_distribution_matching, image_ids=torch.tensor([0, 0, 1, 2, 3, 4])),
        lambda image, text, labels: image_text_contrast(image, text),
        lambda image, text, labels: image_text_contrast(image, text, labels=labels),
        cross_modal_projection_matching,
    ],
)
def test_images_and_texts_may_change_places_and_the_gradient_is_the_derivative(loss):
    (image, text), labels = pairs(), torch.tensor([0, 0, 0, 1, 1, 2])
    close(loss(image, text, labels), loss(text, image, labels).item())
    assert torch.autograd.gradcheck(lambda one, other: loss(one, other, labels), (image, text), atol=1e-4)


def test_soft_labels_are_distributions_unless_the_public_codes_columns_are_asked_for():
    """At cosines that make p equal to the row-normalised target the loss is 0; with columns it is below."""
    labels, image_ids = torch.zeros(3, dtype=torch.int64), torch.tensor([0, 0, 1])
    soft = torch.tensor([[1.0, 1.0, 0.3], [1.0, 1.0, 0.3], [0.3, 0.3, 1.0]], dtype=torch.float64)
    rows, columns = soft / soft.sum(1, keepdim=True), soft / soft.sum(0, keepdim=True)
    image, text = pairs(3)
    cosines = torch.nn.functional.normalize(image, dim=1) @ torch.nn.functional.normalize(text, dim=1).T
    for flag, target in ((False, rows), (True, columns)):
        expected = sum(
            (side.softmax(1) * (side.log_softmax(1) - (target + 1e-8).log())).sum(1).mean()
            for side in (cosines / 0.5, cosines.T / 0.5)
        )
        value = similarity_distribution_matching(image, text, labels, 0.5, image_ids, columns=flag)
        close(value, expected)
    assert not torch.allclose(rows, columns)
    unequal = [
        similarity_distribution_matching(image, text, torch.tensor([0, 0, 1]), columns=flag).item()
        for flag in (False, True)
    ]
    assert unequal[0] == pytest.approx(unequal[1])  # hard labels: no difference


def test_masked_contrast_neither_pulls_nor_pushes_other_captions_of_the_person():
    """No term of the loss holds the image of one pair and the caption of another pair of the person, so the loss has no
    mixed derivative by the two; it has one for pairs of different persons, and without the mask for all."""
    labels = torch.tensor([0, 0, 1, 2])
    image, text = pairs(4, 3)
    others = (labels[:, None] == labels[None, :]) & ~torch.eye(4, dtype=torch.bool)
    for known, expected in ((labels, ~others), (None, torch.ones_like(others))):
        second = torch.autograd.functional.hessian(
            lambda one, other, known=known: image_text_contrast(one, other, 0.5, known), (image, text)
        )
        coupled = second[0][1].abs().amax((1, 3)) > 0
        assert torch.equal(coupled, expected)


def test_masked_contrast_of_one_person_has_nothing_to_say():
    image, text = pairs()
    loss = image_text_contrast(image, text, labels=torch.zeros(6))
    loss.backward()
    assert loss.item() == 0
    assert not image.grad.any() and not text.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", [similarity_distribution_matching, cross_modal_projection_matching])
def test_half_precision_features_and_autocast_are_computed_in_fp32(loss, dtype):
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    halves = [features.detach().to(dtype) for features in pairs()]
    expected = loss(*(features.float() for features in halves), labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(*halves, labels), expected)
        assert torch.equal(loss(*(features.float() for features in halves), labels), expected)
    assert expected.dtype == torch.float32
