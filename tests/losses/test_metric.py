"""Every offered loss against its formula, written out as the paper has it, one anchor at a time."""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import pytest
import torch

from reidtune.config import LossSection
from reidtune.errors import SettingsError
from reidtune.losses.metric import MetricLoss, metric_loss
from reidtune.metric_losses import METRIC_LOSSES, complete_settings
from reidtune.seeds import seeded

WIDTH, CLASSES = 6, 5
BALANCED = [0, 0, 1, 1, 2, 2, 4, 4]
UNEQUAL = [3, 0, 0, 1, 1, 1, 1, 1]  # identities of 1, 2 and 5 images
FAMILY = [name for name, page in METRIC_LOSSES.items() if not page.own]


@pytest.fixture(autouse=True)
def library(request):
    if "without_library" not in request.fixturenames:
        pytest.importorskip("pytorch_metric_learning")


def module(name, **settings):
    with seeded(3):
        return MetricLoss(name, complete_settings(name, settings), CLASSES, WIDTH)


def points(labels, seed=1, spread=1.0):
    """Features around one direction an identity, not normalised."""
    generator = torch.Generator().manual_seed(seed)
    middle = torch.randn(CLASSES, WIDTH, generator=generator)
    return (middle[labels] + spread * torch.randn(len(labels), WIDTH, generator=generator)) * 3


def cosine(one, other):
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0))


def split(features, labels, anchor):
    """Cosines of an anchor with its positives and with its negatives."""
    rest = [other for other in range(len(labels)) if other != anchor]
    positives = [cosine(features[anchor], features[o]) for o in rest if labels[o] == labels[anchor]]
    negatives = [cosine(features[anchor], features[o]) for o in rest if labels[o] != labels[anchor]]
    return positives, negatives


def mean(values):
    return sum(values) / len(values)


def circle(loss, features, labels, m, gamma):
    terms = []
    for anchor in range(len(labels)):
        positives, negatives = split(features, labels, anchor)
        if positives and negatives:
            near = sum(math.exp(gamma * max(0, s + m) * (s - m)) for s in negatives)
            far = sum(math.exp(-gamma * max(0, 1 + m - s) * (s - (1 - m))) for s in positives)
            terms.append(math.log(1 + near * far))
    return mean(terms)


def supcon(loss, features, labels, temperature):
    terms = []
    for anchor in range(len(labels)):
        positives, negatives = split(features, labels, anchor)
        if positives:
            total = sum(math.exp(s / temperature) for s in (*positives, *negatives))
            terms.append(-mean([math.log(math.exp(s / temperature) / total) for s in positives]))
    return mean(terms)


def multi_similarity(loss, features, labels, alpha, beta, base, epsilon):
    total = 0.0
    for anchor in range(len(labels)):
        positives, negatives = split(features, labels, anchor)
        if positives and negatives:
            far = [s for s in positives if s - epsilon < max(negatives)]
            near = [s for s in negatives if s + epsilon > min(positives)]
            total += math.log(1 + sum(math.exp(-alpha * (s - base)) for s in far)) / alpha
            total += math.log(1 + sum(math.exp(beta * (s - base)) for s in near)) / beta
    return total / len(labels)


def softmax_of(loss, features, labels, scale, own):
    """Cross-entropy of scale · cosine with the vector of each identity, ``own(cosine)`` with the own one."""
    vectors = loss.loss.W.detach().T
    terms = []
    for feature, label in zip(features, labels, strict=True):
        cosines = [cosine(feature, vector) for vector in vectors]
        cosines[label] = own(cosines[label])
        terms.append(math.log(sum(math.exp(scale * (c - cosines[label])) for c in cosines)))
    return mean(terms)


def arcface(loss, features, labels, margin, scale):
    def own(c):
        angle, m = math.acos(c), math.radians(margin)
        return math.cos(angle + m) if angle + m <= math.pi else c - m * math.sin(m)

    return softmax_of(loss, features, labels, scale, own)


def cosface(loss, features, labels, margin, scale):
    return softmax_of(loss, features, labels, scale, lambda c: c - margin)


def normalized_softmax(loss, features, labels, temperature):
    return softmax_of(loss, features, labels, 1 / temperature, lambda c: c)


def proxy_anchor(loss, features, labels, margin, alpha):
    attract, repel = [], []
    for place, proxy in enumerate(loss.loss.proxies.detach()):
        near = [cosine(f, proxy) for f, label in zip(features, labels, strict=True) if label == place]
        far = [cosine(f, proxy) for f, label in zip(features, labels, strict=True) if label != place]
        if near:
            attract.append(math.log(1 + sum(math.exp(-alpha * (s - margin)) for s in near)))
        repel.append(math.log(1 + sum(math.exp(alpha * (s + margin)) for s in far)))
    return mean(attract) + mean(repel)


FORMULAS = {
    "circle": circle,
    "supcon": supcon,
    "multi-similarity": multi_similarity,
    "arcface": arcface,
    "cosface": cosface,
    "normalized-softmax": normalized_softmax,
    "proxy-anchor": proxy_anchor,
}
OTHER = {
    "circle": {"m": 0.25, "gamma": 32},
    "supcon": {"temperature": 0.5},
    "multi-similarity": {"alpha": 1.0, "beta": 10.0, "base": 0.3, "epsilon": 0.4},
    "arcface": {"margin": 60.0, "scale": 8},
    "cosface": {"margin": 0.1, "scale": 8.0},
    "normalized-softmax": {"temperature": 0.3},
    "proxy-anchor": {"margin": 0.3, "alpha": 4.0},
}


def test_every_loss_of_the_library_has_a_formula():
    assert set(FORMULAS) == set(OTHER) == set(FAMILY)


@pytest.mark.parametrize("labels", [BALANCED, UNEQUAL], ids=["balanced", "unequal"])
@pytest.mark.parametrize("settings", [{}, OTHER], ids=["defaults", "other"])
@pytest.mark.parametrize("name", FAMILY)
def test_the_library_has_the_loss_right(name, settings, labels):
    given = settings.get(name, {})
    loss, features = module(name, **given), points(labels)
    wanted = FORMULAS[name](loss, features, labels, **complete_settings(name, given))
    assert loss(features, torch.tensor(labels)).item() == pytest.approx(wanted, rel=2e-5, abs=1e-6)


def test_known_values():
    """By hand: two identities at right angles, the images of each equal."""
    features = torch.tensor([[2.0, 0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0], [0, 3.0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0]])
    labels = torch.tensor([0, 0, 1, 1])
    # Positives 1, negatives 0: exp(-80 · 0.4 · 0.4) each, of which there are two negatives.
    assert module("circle")(features, labels).item() == pytest.approx(math.log1p(2 * math.exp(-25.6)), rel=1e-3)
    assert module("supcon")(features, labels).item() == pytest.approx(math.log1p(2 * math.exp(-10.0)), rel=1e-2)
    arc = module("arcface", scale=10)
    with torch.no_grad():
        arc.loss.W.copy_(torch.eye(WIDTH)[:, [1, 0, 2, 3, 4]])  # each feature at right angles to its own vector
    turned = -math.sin(math.radians(28.6))
    logits = [math.exp(10 * value) for value in (turned, 1, 0, 0, 0)]
    assert arc(features, labels).item() == pytest.approx(-math.log(logits[0] / sum(logits)), rel=1e-5)


@pytest.mark.parametrize("name", list(METRIC_LOSSES))
def test_the_gradient_is_the_derivative_and_the_length_of_a_feature_does_not_matter(name):
    loss, labels = module(name).eval(), torch.tensor(BALANCED)
    features = points(BALANCED).requires_grad_()
    value = loss(features, labels)
    value.backward()
    if name not in ("circle", "center"):  # circle takes its own weights as constants
        step = 1e-3 * features.grad / features.grad.norm()
        with torch.no_grad():
            slope = (loss(features + step, labels) - loss(features - step, labels)) / 2e-3
        assert slope.item() == pytest.approx(features.grad.norm().item(), rel=2e-2)
    twice = loss(2 * features.detach(), labels)
    assert torch.isclose(twice, value.detach(), rtol=1e-4) == (not METRIC_LOSSES[name].raw)


@pytest.mark.parametrize("name", list(METRIC_LOSSES))
def test_training_lowers_the_loss_and_moves_what_learns(name):
    loss, labels = module(name), torch.tensor(BALANCED)
    features = points(BALANCED, spread=2.0).requires_grad_()
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    optimiser = torch.optim.Adam([features, *loss.parameters()], lr=0.05)
    values = []
    for _ in range(30):
        value = loss(features, labels)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0]
    assert all(not torch.equal(value, before[key]) for key, value in loss.state_dict().items())
    assert bool(before) == (not METRIC_LOSSES[name].pairs)


@pytest.mark.parametrize("labels", [[2, 2, 2], [0, 1, 2], [3]], ids=["one identity", "no positives", "one image"])
@pytest.mark.parametrize("name", list(METRIC_LOSSES))
def test_a_batch_without_pairs_is_finite_and_has_a_gradient(name, labels):
    features = points(labels).requires_grad_()
    value = module(name)(features, torch.tensor(labels))
    value.backward()
    assert torch.isfinite(value) and features.grad.isfinite().all()
    if METRIC_LOSSES[name].pairs:
        assert value.item() == 0


@pytest.mark.parametrize("name", list(METRIC_LOSSES))
def test_fp32_under_autocast(name):
    features, labels = points(BALANCED).bfloat16(), torch.tensor(BALANCED)
    with torch.autocast("cpu", torch.bfloat16):
        value = module(name)(features, labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, module(name)(features.float(), labels))


@pytest.mark.parametrize("name", FAMILY)
def test_initial_vectors_depend_on_the_seed_alone(name):
    states = []
    for seed in (1, 1, 2):
        with seeded(seed):
            states.append(list(MetricLoss(name, complete_settings(name, {}), CLASSES, WIDTH).parameters()))
    same, other = ([torch.equal(a, b) for a, b in zip(one, two, strict=True)] for one, two in pairwise(states))
    assert all(same)
    assert not any(other)


def test_no_loss_where_none_is_named_or_its_weight_is_zero():
    assert metric_loss(LossSection(), 3, 4) is None
    assert metric_loss(LossSection(metric="circle", metric_weight=0.0), 3, 4) is None
    assert isinstance(metric_loss(LossSection(metric="circle"), 3, 4), MetricLoss)


@pytest.fixture
def without_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    monkeypatch.setattr("reidtune.metric_losses.find_spec", lambda name: None)


def test_without_the_library_one_sentence_says_what_to_install(without_library):
    with pytest.raises(
        SettingsError, match="circle comes from pytorch-metric-learning, which is not installed"
    ) as caught:
        MetricLoss("circle", {}, 3, 4)
    assert caught.value.hint == "Install it: pip install 'reidtune[losses]'"
    assert MetricLoss("center", complete_settings("center", {}), 3, 4)(torch.ones(2, 4), torch.tensor([0, 0])) == 0
