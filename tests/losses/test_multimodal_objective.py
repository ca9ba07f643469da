from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from reidtune.config import LossSection
from reidtune.fusion import join
from reidtune.losses import batch_hard_triplet, cross_entropy_smooth, modality_contrast
from reidtune.losses.multimodal_objective import MultimodalObjective

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
MODALITIES = ("rgb", "nir", "tir")


def objective(modalities=3, texts=None, **settings):
    torch.manual_seed(0)
    return MultimodalObjective(4, modalities, 5, LossSection(**settings), texts)


def features(modalities=3):
    return torch.randn(6, modalities, 4, generator=torch.Generator().manual_seed(1))


def missing(*places):
    """Every modality of the six samples is there but those at ``places`` (sample, modality)."""
    present = torch.ones(6, 3, dtype=torch.bool)
    for sample, modality in places:
        present[sample, modality] = False
    return present


def texts():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(2))


# The name of the reference's case, what its weights end in, and which inputs a head sees.
CASES = {
    "joint": ("concat", [""], [MODALITIES]),
    "each": ("per_modality", ["_r", "_n", "_t"], [(name,) for name in MODALITIES]),
}


@pytest.mark.parametrize("heads", CASES)
def test_values_gradients_and_statistics_equal_the_reference(golden, heads):
    case, suffixes, _ = CASES[heads]
    tensors = load_file(golden / "multimodal.safetensors")
    tolerance = json.loads((golden / "multimodal.json").read_text())["tolerance"]
    module = MultimodalObjective(16, 3, 5, LossSection(identity=0.25, triplet=1.0, margin="soft", heads=heads))
    weights = {}
    for place, suffix in enumerate(suffixes):
        norm, classifier = f"{case}.weight.bottleneck{suffix}", f"{case}.weight.classifier{suffix}"
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            weights[f"necks.{place}.norm.{name}"] = tensors[f"{norm}.{name}"]
        weights[f"necks.{place}.classifier.weight"] = tensors[f"{classifier}.weight"]
    module.load_state_dict(weights)
    inputs = [tensors[f"input.{name}"].clone().requires_grad_() for name in MODALITIES]
    total, _ = module({"image": torch.stack(inputs, dim=1)}, tensors["input.labels"])
    total.backward()

    torch.testing.assert_close(total.detach(), tensors[f"{case}.output.loss"], **tolerance["values"])
    for name, value in zip(MODALITIES, inputs, strict=True):
        torch.testing.assert_close(value.grad, tensors[f"{case}.grad.{name}"], **tolerance["grad"])
    for neck, suffix in zip(module.necks, suffixes, strict=True):
        learned = {
            f"{case}.grad.param.bottleneck{suffix}.weight": neck.norm.weight.grad,
            f"{case}.grad.param.classifier{suffix}.weight": neck.classifier.weight.grad,
        }
        for name, gradient in learned.items():
            torch.testing.assert_close(gradient, tensors[name], **tolerance["grad"])
        assert neck.norm.bias.grad is None
        for name in ("running_mean", "running_var"):
            after = tensors[f"{case}.after.bottleneck{suffix}.{name}"]
            torch.testing.assert_close(getattr(neck.norm, name), after, **tolerance["values"])


def test_the_joined_feature_is_that_of_a_sample():
    module = objective(identity=0.5, triplet=2.0, margin=0.4, label_smoothing=0.2)
    rows = features()
    total, parts = module({"image": rows, "present": None}, LABELS)
    joined = rows.flatten(1)
    expected = {
        "identity": cross_entropy_smooth(module.necks[0](joined), LABELS, 0.2),
        "triplet": batch_hard_triplet(joined, LABELS, 0.4),
    }
    assert parts.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value)
    torch.testing.assert_close(total, 0.5 * parts["identity"] + 2.0 * parts["triplet"])


def test_a_joint_head_sees_missing_modalities_as_features_are_joined():
    present = missing((0, 1), (3, 0), (3, 2))
    rows = features()
    _, parts = objective()({"image": rows, "present": present}, LABELS)
    torch.testing.assert_close(parts["triplet"], batch_hard_triplet(join(rows, present), LABELS, 0.3))
    full = objective()({"image": rows}, LABELS)[1]
    assert not torch.isclose(parts["triplet"], full["triplet"])
    assert not torch.isclose(parts["identity"], full["identity"], atol=0, rtol=1e-5)


def test_each_head_sees_the_samples_that_have_its_modality():
    present = missing((0, 1), (3, 1), (5, 2))
    rows = features().requires_grad_()
    module = objective(heads="each", margin="soft")
    total, parts = module({"image": rows, "present": present}, LABELS)
    total.backward()
    again = objective(heads="each")
    identity, triplet = 0.0, 0.0
    for place, neck in enumerate(again.necks):
        there = present[:, place]
        identity = identity + cross_entropy_smooth(neck(rows[there, place]), LABELS[there], 0.1)
        triplet = triplet + batch_hard_triplet(rows[there, place], LABELS[there], None)
    torch.testing.assert_close(parts["identity"], identity)
    torch.testing.assert_close(parts["triplet"], triplet)
    assert torch.equal(rows.grad.abs().amax(2) > 0, present)
    for one, other in zip(module.necks, again.necks, strict=True):
        torch.testing.assert_close(one.norm.running_mean, other.norm.running_mean)
        torch.testing.assert_close(one.norm.running_var, other.norm.running_var)


def test_what_stands_in_the_place_of_a_missing_modality_does_not_matter():
    present = missing((0, 1), (4, 2))
    rows = features()
    other = torch.where(present[..., None], rows, torch.full_like(rows, 1e3))
    for heads in CASES:
        settings = {"heads": heads, "modality": 1.0, "texts": texts()}
        one = objective(**settings)({"image": rows, "present": present}, LABELS)
        two = objective(**settings)({"image": other, "present": present}, LABELS)
        assert torch.equal(one[0], two[0]), heads


@pytest.mark.parametrize("left", [0, 1])
def test_a_head_with_fewer_than_two_samples_is_left_out(left):
    present = missing(*((sample, 1) for sample in range(left, 6)))
    rows = features()
    module = objective(heads="each")
    before = {name: value.clone() for name, value in module.necks[1].state_dict().items()}
    total, parts = module({"image": rows, "present": present}, LABELS)
    assert torch.isfinite(total)
    others = objective(modalities=2, heads="each")
    others.necks[0].load_state_dict(objective(heads="each").necks[0].state_dict())
    others.necks[1].load_state_dict(objective(heads="each").necks[2].state_dict())
    expected, _ = others({"image": rows[:, [0, 2]]}, LABELS)
    torch.testing.assert_close(total, expected)
    for name, value in module.necks[1].state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_step_without_any_head_is_zero_and_has_a_gradient():
    present = torch.zeros(3, 3, dtype=torch.bool).fill_diagonal_(True)
    rows = features()[:3].requires_grad_()
    total, parts = objective(heads="each")({"image": rows, "present": present}, LABELS[:3])
    total.backward()
    assert (total.item(), parts["identity"].item(), parts["triplet"].item()) == (0, 0, 0)
    assert not rows.grad.any()


@pytest.mark.parametrize("heads", CASES)
def test_the_contrast_is_the_mean_over_the_images_that_are_there(heads):
    present = missing((0, 1), (3, 0), (3, 2))
    rows = features()
    settings = {"heads": heads, "modality_temperature": 0.2}
    plain, _ = objective(**settings)({"image": rows, "present": present}, LABELS)
    total, parts = objective(texts=texts(), modality=0.5, **settings)({"image": rows, "present": present}, LABELS)
    each = [
        modality_contrast(rows[None, sample, place], texts(), torch.tensor([place]), 0.2)
        for sample in range(6)
        for place in range(3)
        if present[sample, place]
    ]
    assert len(each) == 15
    torch.testing.assert_close(parts["modality"], torch.stack(each).mean())
    torch.testing.assert_close(total, plain + 0.5 * parts["modality"])


def test_texts_are_fixed_and_not_saved():
    given = texts().requires_grad_()
    module = objective(texts=given, modality=1.0)
    assert not any("texts" in name for name in module.state_dict())
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"necks"}
    total, _ = module({"image": features().requires_grad_()}, LABELS)
    total.backward()
    assert given.grad is None


def test_a_contrast_needs_a_text_for_each_modality():
    with pytest.raises(ValueError, match=r"needs texts \[3, 4\], but they are none"):
        objective(modality=1.0)
    with pytest.raises(ValueError, match=r"needs texts \[3, 4\], but they are \[2, 4\]"):
        objective(modality=1.0, texts=texts()[:2])


@pytest.mark.parametrize("modalities", [1, 2, 4])
@pytest.mark.parametrize("heads", CASES)
def test_any_number_of_modalities(heads, modalities):
    module = objective(modalities, heads=heads)
    total, _ = module({"image": features(modalities)}, LABELS)
    assert torch.isfinite(total)
    widths = [neck.classifier.in_features for neck in module.necks]
    assert widths == ([4 * modalities] if heads == "joint" else [4] * modalities)


@pytest.mark.parametrize("heads", CASES)
def test_a_weight_of_zero_leaves_a_part_out(heads):
    outputs = {"image": features()}
    assert set(objective(heads=heads, identity=0.0)(outputs, LABELS)[1]) == {"triplet"}
    assert set(objective(heads=heads, triplet=0.0)(outputs, LABELS)[1]) == {"identity"}


@pytest.mark.parametrize("heads", CASES)
def test_fp32_under_autocast(heads):
    settings = {"heads": heads, "modality": 1.0, "texts": texts()}
    halves = {"image": features().bfloat16(), "present": missing((2, 1))}
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = objective(**settings)(halves, LABELS)
    expected, _ = objective(**settings)({**halves, "image": halves["image"].float()}, LABELS)
    assert total.dtype == torch.float32
    assert torch.equal(total, expected)


@pytest.mark.parametrize("heads", CASES)
@pytest.mark.parametrize("name", ["circle", "arcface"])
def test_every_head_has_a_metric_loss_of_its_own(heads, name):
    pytest.importorskip("pytorch_metric_learning")
    present = missing((0, 1), (3, 1), (5, 2))
    rows = features()
    module = objective(heads=heads, metric=name, metric_weight=0.5)
    total, parts = module({"image": rows, "present": present}, LABELS)
    inputs = [(join(rows, present), LABELS)]
    if heads == "each":
        inputs = [(rows[there, place], LABELS[there]) for place, there in enumerate(present.T)]
    assert len(module.metrics) == len(inputs)
    wanted = sum(metric(one, whose) for metric, (one, whose) in zip(module.metrics, inputs, strict=True))
    torch.testing.assert_close(parts["metric"], wanted)
    torch.testing.assert_close(total, parts["identity"] + parts["triplet"] + 0.5 * wanted)
    values = [metric.loss.W for metric in module.metrics if name == "arcface"]
    assert len({tuple(value.flatten().tolist()) for value in values}) == len(values)


def test_a_metric_loss_leaves_out_a_head_with_fewer_than_two_samples():
    pytest.importorskip("pytorch_metric_learning")
    present = missing(*((sample, 1) for sample in range(5)))
    rows = features()
    module = objective(heads="each", metric="arcface")
    _, parts = module({"image": rows, "present": present}, LABELS)
    wanted = module.metrics[0](rows[:, 0], LABELS) + module.metrics[2](rows[:, 2], LABELS)
    torch.testing.assert_close(parts["metric"], wanted)


@pytest.mark.parametrize("heads", CASES)
def test_the_triplet_loss_of_unit_features(heads):
    rows = features()
    _, parts = objective(heads=heads, triplet_features="unit")({"image": rows}, LABELS)
    inputs = [rows.flatten(1)] if heads == "joint" else rows.unbind(1)
    wanted = sum(batch_hard_triplet(torch.nn.functional.normalize(one, dim=1), LABELS, 0.3) for one in inputs)
    torch.testing.assert_close(parts["triplet"], wanted)
