from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from reidtune.config import LossSection
from reidtune.losses import (
    cross_entropy_smooth,
    cross_modal_projection_matching,
    image_text_contrast,
    similarity_distribution_matching,
)
from reidtune.losses.objective import STATISTICS
from reidtune.losses.text_objective import TextObjective

LABELS = torch.tensor([0, 0, 1, 2, 2, 2])


@pytest.fixture
def outputs():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(6, 5, generator=generator).requires_grad_() for name in ("image", "text")}


def objective(function=None, **weights):
    torch.manual_seed(0)
    given = {} if function is None else {"auxiliary": function}
    return TextObjective(5, 4, LossSection(**{"identity": 0.0, **weights}), **given)


def test_the_loss_is_the_weighted_sum_of_its_parts(outputs):
    module = objective(sdm=2.0, itc=0.5, cmpm=0.1, identity=3.0, temperature=0.1, label_smoothing=0.2)
    total, parts = module(outputs, LABELS)
    image, text = outputs["image"], outputs["text"]
    expected = {
        "sdm": similarity_distribution_matching(image, text, LABELS, 0.1),
        "itc": image_text_contrast(image, text, 0.1),
        "cmpm": cross_modal_projection_matching(image, text, LABELS),
        "identity": (
            cross_entropy_smooth(module.classifier(image), LABELS, 0.2)
            + cross_entropy_smooth(module.classifier(text), LABELS, 0.2)
        )
        / 2,
    }
    assert parts.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value)
    weights = {"sdm": 2.0, "itc": 0.5, "cmpm": 0.1, "identity": 3.0}
    torch.testing.assert_close(total, sum(weights[name] * value for name, value in expected.items()))


def test_the_masked_contrast_knows_the_persons(outputs):
    _, parts = objective(itc=1.0, itc_masked=True)(outputs, LABELS)
    torch.testing.assert_close(
        parts["itc"], image_text_contrast(outputs["image"], outputs["text"], 0.02, labels=LABELS)
    )
    assert parts["itc"] < objective(itc=1.0)(outputs, LABELS)[1]["itc"]


def test_a_weight_of_zero_leaves_a_part_out_and_its_tensors(outputs):
    module = objective(sdm=1.0)
    assert set(module(outputs, LABELS)[1]) == {"sdm"}
    assert not list(module.parameters())
    assert set(objective(identity=1.0)(outputs, LABELS)[1]) == {"identity"}


def test_one_classifier_for_both_starts_as_published():
    torch.manual_seed(0)
    module = TextObjective(64, 200, LossSection())
    state = module.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "classifier.weight": (200, 64),
        "classifier.bias": (200,),
    }
    assert state["classifier.weight"].std().item() == pytest.approx(0.001, rel=0.05)
    assert not state["classifier.bias"].any()


def test_identity_equals_the_reference(golden):
    tensors = load_file(golden / "losses.safetensors")
    module = TextObjective(16, 8, LossSection(label_smoothing=0.0))
    module.load_state_dict({f"classifier.{name}": tensors[f"id.{name}"] for name in ("weight", "bias")})
    outputs = {name: tensors[f"itm.{name}"].clone().requires_grad_() for name in ("image", "text")}
    total, _ = module(outputs, tensors["id.labels"])
    total.backward()
    torch.testing.assert_close(total.detach(), tensors["id.value"], rtol=1e-5, atol=1e-5)
    gradients = {
        **{name: value.grad for name, value in outputs.items()},
        **{name: getattr(module.classifier, name).grad for name in ("weight", "bias")},
    }
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, tensors[f"id.grad_{name}"], rtol=1e-4, atol=2e-5)


def test_auxiliary_losses_are_named_and_weighted(outputs):
    seen = []

    def auxiliary(statistics):
        seen.append(sorted(statistics))
        return {"balance": statistics["mixture/rows"].sum(), "other": statistics["mixture/rows"].max()}

    outputs[f"{STATISTICS}mixture/rows"] = torch.tensor([1.0, 2.0])
    plain, _ = objective(auxiliary, sdm=1.0)(outputs, LABELS)
    assert seen == []
    total, parts = objective(auxiliary, sdm=1.0, auxiliary=0.5)(outputs, LABELS)
    assert seen == [["mixture/rows"]]
    assert (parts["balance"].item(), parts["other"].item()) == (3.0, 2.0)
    torch.testing.assert_close(total, plain + 0.5 * 5)


def test_fp32_under_autocast(outputs):
    module = objective(sdm=1.0, itc=1.0, cmpm=1.0, identity=1.0)
    halves = {name: value.detach().bfloat16() for name, value in outputs.items()}
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = module(halves, LABELS)
    expected, _ = module({name: value.float() for name, value in halves.items()}, LABELS)
    assert total.dtype == torch.float32
    assert torch.equal(total, expected)


@pytest.mark.parametrize("name", ["supcon", "cosface", "center"])
def test_a_metric_loss_takes_images_and_texts_as_one_set(outputs, name):
    pytest.importorskip("pytorch_metric_learning")
    module = objective(sdm=1.0, metric=name, metric_weight=0.7)
    total, parts = module(outputs, LABELS)
    both = torch.cat([outputs["image"], outputs["text"]])
    again = objective(sdm=1.0, metric=name, metric_weight=0.7)
    torch.testing.assert_close(parts["metric"], again.metric(both, torch.cat([LABELS, LABELS])))
    torch.testing.assert_close(total, parts["sdm"] + 0.7 * parts["metric"])
