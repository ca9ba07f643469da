"""Batch-hard triplet loss; tests/golden/losses.json explains the reference numbers."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from reidtune.config import LossSection
from reidtune.losses import batch_hard_triplet
from reidtune.losses.triplet import euclidean_distances, triplet_of


def value_and_gradient(features, labels, margin, prepare=lambda values: values):
    features = features.clone().requires_grad_()
    loss = batch_hard_triplet(prepare(features), labels, margin)
    loss.backward()
    return loss.detach(), features.grad


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def close_gradient(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("case", "margin", "prepare"),
    [
        ("margin03", 0.3, lambda values: values),
        ("soft", None, lambda values: values),
        ("normalized_margin03", 0.3, lambda values: values / (values.norm(dim=1, keepdim=True) + 1e-12)),
    ],
)
def test_equals_the_reference(golden, case, margin, prepare):
    tensors = load_file(golden / "losses.safetensors")
    loss, gradient = value_and_gradient(tensors["triplet.features"], tensors["triplet.labels"], margin, prepare)
    close(loss, tensors[f"triplet.{case}.value"])
    close_gradient(gradient, tensors[f"triplet.{case}.grad"])


def test_equals_the_reference_with_duplicates(golden):
    tensors = load_file(golden / "losses.safetensors")
    features, labels = tensors["triplet.duplicate.features"], tensors["triplet.duplicate.labels"]
    loss, gradient = value_and_gradient(features, labels, None)
    close(loss, tensors["triplet.duplicate.value"])
    close_gradient(gradient, tensors["triplet.duplicate.grad"])  # the first of equal negatives gets it all
    assert euclidean_distances(features, features)[0, 1] == pytest.approx(1e-6)


def test_hardest_distances_equal_the_reference(golden):
    tensors = load_file(golden / "losses.safetensors")
    features, labels = tensors["triplet.features"], tensors["triplet.labels"]
    distances = euclidean_distances(features, features)
    same = labels[:, None] == labels[None, :]
    close(distances.where(same, torch.tensor(-1.0)).amax(1), tensors["triplet.dist_ap"])
    close(distances.where(~same, torch.tensor(math.inf)).amin(1), tensors["triplet.dist_an"])


@pytest.mark.parametrize("margin", [0.3, 0.0, None])
@pytest.mark.parametrize(
    "labels", [[0, 0, 0, 1], [0, 1, 2, 2, 2, 2, 3, 3, 3], [5, 5, 7, 7, 7, 7, 5, 9], [3, 8, 8, 1, 1, 1, 1, 1]]
)
def test_unequal_numbers_of_images(labels, margin):
    """The public code reshapes masked distances and is wrong or fails here; the reference is a plain loop, in which an
    image alone with its identity makes no triplet."""
    generator = torch.Generator().manual_seed(len(labels))
    features = torch.randn(len(labels), 6, generator=generator, dtype=torch.float64)
    terms = []
    for anchor, own in enumerate(labels):
        distances = [math.dist(features[anchor], other) for other in features]
        if labels.count(own) == 1:
            continue
        positive = max(d for d, label in zip(distances, labels, strict=True) if label == own)
        negative = min(d for d, label in zip(distances, labels, strict=True) if label != own)
        gap = positive - negative
        terms.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, gap + margin))
    assert 0 < len(terms) < len(labels)
    loss, gradient = value_and_gradient(features, torch.tensor(labels), margin)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), abs=1e-6)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("margin", [0.3, None])
def test_an_image_alone_is_a_negative_and_no_anchor(margin):
    """Counted as an anchor with itself as its positive, it would add a term and pull the mean down."""
    features = torch.tensor([[0.0], [1.0], [1.5]], requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor([0, 0, 7]), margin)
    gaps = [1.0 - 1.5, 1.0 - 0.5]
    wanted = [math.log1p(math.exp(gap)) if margin is None else max(0.0, gap + margin) for gap in gaps]
    assert loss.item() == pytest.approx(sum(wanted) / 2)
    loss.backward()
    assert features.grad[2] != 0


@pytest.mark.parametrize("margin", [0.3, None])
@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2, 3], [4]])
def test_a_batch_without_a_triplet_gives_zero_and_no_gradient(labels, margin):
    loss, gradient = value_and_gradient(torch.randn(len(labels), 3), torch.tensor(labels), margin)
    assert loss == 0
    assert not gradient.any()


def test_fp32_under_autocast():
    features, labels = torch.randn(8, 16).bfloat16(), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    with torch.autocast("cpu", torch.bfloat16):
        loss = batch_hard_triplet(features, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, batch_hard_triplet(features.float(), labels))


def test_the_settings_of_a_recipe(golden):
    tensors = load_file(golden / "losses.safetensors")
    features, labels = tensors["triplet.features"], tensors["triplet.labels"]
    close(triplet_of(LossSection(), features, labels), tensors["triplet.margin03.value"])
    close(triplet_of(LossSection(margin="soft"), features, labels), tensors["triplet.soft.value"])
    unit = LossSection(triplet_features="unit")
    close(triplet_of(unit, features, labels), tensors["triplet.normalized_margin03.value"])
    close(triplet_of(unit, 7 * features, labels), tensors["triplet.normalized_margin03.value"])


def test_one_identity_gives_zero_and_no_gradient():
    loss, gradient = value_and_gradient(torch.randn(4, 3), torch.zeros(4), 0.3)
    assert loss == 0
    assert not gradient.any()


def test_the_first_of_equally_hard_images_gets_the_gradient():
    features, labels = torch.tensor([[0.0], [1.0], [-1.0], [3.0], [-3.0]]), torch.tensor([0, 0, 0, 1, 2])
    _, gradient = value_and_gradient(features, labels, 9.0)
    points = features.clone().requires_grad_()
    farthest, nearest = [1, 2, 1], [3, 3, 4]  # anchor 0 has two of both; images 3 and 4 are alone
    terms = [
        (points[a] - points[p]).abs() - (points[a] - points[n]).abs()
        for a, p, n in zip(range(3), farthest, nearest, strict=True)
    ]
    (torch.stack(terms) + 9).mean().backward()
    close_gradient(gradient, points.grad)


def test_the_margin_is_the_papers_by_default():
    features, labels = torch.tensor([[0.0], [1.0], [1.1], [2.1]]), torch.tensor([0, 0, 1, 1])
    # Anchors 0 and 3: 1 − 1.1; anchors 1 and 2: 1 − 0.1.
    close(batch_hard_triplet(features, labels), torch.tensor((2 * (0.3 - 0.1) + 2 * (0.3 + 0.9)) / 4))


def test_the_order_of_the_batch_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(12, 8, generator=generator), torch.randint(0, 4, (12,), generator=generator)
    order = torch.randperm(12, generator=generator)
    close(batch_hard_triplet(features, labels), batch_hard_triplet(features[order], labels[order]))


def test_the_gradient_is_the_derivative():
    features = torch.randn(6, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda values: batch_hard_triplet(values, labels, None), (features,))
