"""Supervised contrastive loss; tests/golden/losses.json explains the reference numbers."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from reidtune.losses import batch_hard_triplet, cross_entropy_smooth, supervised_contrastive


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def close_gradient(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-5)


def test_both_directions_and_gradients_equal_the_reference(golden):
    tensors = load_file(golden / "losses.safetensors")
    image, text = (tensors[f"supcon.{name}"].clone().requires_grad_() for name in ("image", "text"))
    labels = tensors["itm.pids"]
    forward = supervised_contrastive(image, text, labels, labels)
    backward = supervised_contrastive(text, image, labels, labels)
    close(forward.detach(), tensors["supcon.i2t"])
    close(backward.detach(), tensors["supcon.t2i"])
    close((forward + backward).detach(), tensors["supcon.total"])
    (forward + backward).backward()
    close_gradient(image.grad, tensors["supcon.grad_image"])
    close_gradient(text.grad, tensors["supcon.grad_text"])


def test_two_sets_of_different_size_by_hand():
    one, other = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0], [3.0]])
    value = supervised_contrastive(one, other, torch.tensor([4, 5]), torch.tensor([4, 4, 5]), temperature=2.0)
    first = [math.exp(entry / 2) for entry in (0, 1, 3)]
    second = [math.exp(entry / 2) for entry in (0, 2, 6)]
    terms = [
        (math.log(first[0] / sum(first)) + math.log(first[1] / sum(first))) / 2,
        math.log(second[2] / sum(second)),
    ]
    assert value.item() == pytest.approx(-sum(terms) / 2, rel=1e-6)


def test_rows_without_a_partner_are_left_out():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(3, 4, generator=generator).requires_grad_(), torch.randn(2, 4, generator=generator)
    labels = torch.tensor([1, 2])
    value = supervised_contrastive(one, other, torch.tensor([1, 7, 2]), labels)
    close(value, supervised_contrastive(one[[0, 2]], other, labels, labels))
    value.backward()
    assert not one.grad[1].any() and one.grad[[0, 2]].all()
    assert supervised_contrastive(one, other, torch.tensor([7, 8, 9]), labels).item() == 0


def test_computed_in_fp32_under_autocast():
    features, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 0, 1, 1])
    with torch.autocast("cpu", torch.bfloat16):
        inside = supervised_contrastive(features, features, labels, labels)
    assert torch.equal(inside, supervised_contrastive(features, features, labels, labels))


def test_the_second_stage_of_clip_reid_equals_the_reference(golden):
    """0.25 · (two classifiers) + 1.0 · (triplet of three features) + 1.0 · image-to-text cross-entropy."""
    tensors = load_file(golden / "losses.safetensors")
    names = ("score0", "score1", "feat0", "feat1", "feat2", "i2t")
    inputs = {name: tensors[f"clipreid_stage2.{name}"].clone().requires_grad_() for name in names}
    labels = tensors["triplet.labels"]
    identity = sum(cross_entropy_smooth(inputs[name], labels, 0.1) for name in ("score0", "score1"))
    triplet = sum(batch_hard_triplet(inputs[name], labels, 0.3) for name in ("feat0", "feat1", "feat2"))
    total = 0.25 * identity + triplet + cross_entropy_smooth(inputs["i2t"], labels, 0.1)
    total.backward()
    close(total.detach(), tensors["clipreid_stage2.value"])
    for name, values in inputs.items():
        close_gradient(values.grad, tensors[f"clipreid_stage2.grad_{name}"])
