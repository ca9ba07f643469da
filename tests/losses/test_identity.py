"""Identity loss and neck; tests/golden/losses.json and multimodal.json explain the reference numbers."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from reidtune.losses import BNNeck, batch_hard_triplet, cross_entropy_smooth


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def close_gradient(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-5)


def test_smoothed_cross_entropy_equals_the_reference(golden):
    tensors = load_file(golden / "losses.safetensors")
    logits = tensors["ce_smooth.logits"].clone().requires_grad_()
    loss = cross_entropy_smooth(logits, tensors["ce_smooth.labels"], 0.1)
    loss.backward()
    close(loss.detach(), tensors["ce_smooth.value"])
    close_gradient(logits.grad, tensors["ce_smooth.grad"])


def test_smoothing_spreads_over_all_classes_the_true_one_included():
    logits, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 1, 1, 2])
    log_probabilities = logits.log_softmax(1)
    target = 0.8 * torch.eye(4)[labels] + 0.2 / 4
    close(cross_entropy_smooth(logits, labels, 0.2), -(target * log_probabilities).sum(1).mean())
    assert cross_entropy_smooth(logits, labels) == cross_entropy_smooth(logits, labels, 0.1)
    close(cross_entropy_smooth(logits, labels, 0.0), -log_probabilities[range(5), labels].mean())


def neck_with(tensors, prefix, suffix):
    weight = tensors[f"{prefix}.weight.classifier{suffix}.weight"]
    neck = BNNeck(weight.shape[1], weight.shape[0])
    stem = f"{prefix}.weight.bottleneck{suffix}"
    state = {f"norm.{name}": tensors[f"{stem}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")}
    neck.load_state_dict({**state, "norm.num_batches_tracked": torch.tensor(0), "classifier.weight": weight})
    return neck


@pytest.mark.parametrize(
    ("prefix", "heads"),
    [
        ("concat", [("", "concat", ("rgb", "nir", "tir"))]),
        ("per_modality", [("_r", "rgb", ("rgb",)), ("_n", "nir", ("nir",)), ("_t", "tir", ("tir",))]),
    ],
)
def test_neck_and_both_losses_equal_the_multimodal_reference(golden, prefix, heads):
    """0.25 · CE_smooth(W BN(f), y) + 1.0 · soft triplet(f, y), one head on the concatenation or one a modality."""
    tensors = load_file(golden / "multimodal.safetensors")
    labels = tensors["input.labels"]
    inputs = {name: tensors[f"input.{name}"].clone().requires_grad_() for name in ("rgb", "nir", "tir")}
    necks = {suffix: neck_with(tensors, prefix, suffix) for suffix, _, _ in heads}
    total = torch.zeros(())
    for suffix, name, modalities in heads:
        features = torch.cat([inputs[modality] for modality in modalities], 1)
        logits = necks[suffix](features)
        close(logits.detach(), tensors[f"{prefix}.output.score.{name}"])
        total = total + 0.25 * cross_entropy_smooth(logits, labels, 0.1) + batch_hard_triplet(features, labels, None)
    total.backward()
    close(total.detach(), tensors[f"{prefix}.output.loss"])
    for name, values in inputs.items():
        close_gradient(values.grad, tensors[f"{prefix}.grad.{name}"])
    for suffix, neck in necks.items():
        close_gradient(neck.norm.weight.grad, tensors[f"{prefix}.grad.param.bottleneck{suffix}.weight"])
        close_gradient(neck.classifier.weight.grad, tensors[f"{prefix}.grad.param.classifier{suffix}.weight"])
        close(neck.norm.running_mean, tensors[f"{prefix}.after.bottleneck{suffix}.running_mean"])
        close(neck.norm.running_var, tensors[f"{prefix}.after.bottleneck{suffix}.running_var"])


def test_neck_at_inference_uses_its_running_statistics(golden):
    tensors = load_file(golden / "multimodal.safetensors")
    neck = neck_with(tensors, "concat", "")
    for name in ("running_mean", "running_var"):
        getattr(neck.norm, name).copy_(tensors[f"concat.after.bottleneck.{name}"])
    neck.eval()
    with torch.no_grad():
        close(neck.norm(tensors["concat.eval.feature"]), tensors["concat.eval.after_bn"])


def test_neck_starts_as_the_paper_has_it():
    torch.manual_seed(0)
    neck = BNNeck(64, 200)
    trainable = {name for name, value in neck.named_parameters() if value.requires_grad}
    assert trainable == {"norm.weight", "classifier.weight"}
    assert not neck.norm.bias.any()
    assert neck.classifier.weight.shape == (200, 64)
    assert neck.classifier.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert neck(torch.randn(8, 64)).shape == (8, 200)
