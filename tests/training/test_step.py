"""A batch in parts: the loss and every gradient of the whole batch."""

import pytest
import torch
from torch import nn

from reidtune.backbone.load import load_backbone
from reidtune.config import LossSection, validate_settings
from reidtune.data.batch import Batch
from reidtune.losses.objective import SHARED, STATISTICS
from reidtune.methods.base import Facts
from reidtune.methods.registry import find_method
from reidtune.model import Model
from reidtune.training.step import forward, joined

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3])
TEXT = LossSection(sdm=1.0, itc=0.5, cmpm=0.5, identity=1.0, triplet=0.0, auxiliary=0.5)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny")


def case(backbone, name, settings, task, config):
    """An encoder, an objective and a batch of seven samples of a method whose tensors are not at their start."""
    modalities = ("rgb", "nir") if task == "multimodal" else ()
    page = find_method(name)
    settings = page.complete(validate_settings(page.Settings, settings), Facts(task, "person", 4, 1, modalities))
    method = page(settings)
    model = Model(backbone, method.tuner(backbone))
    model.modalities = modalities
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.tuner.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    model.tuner.train()
    method.begin(method.stages()[-1], model, [])
    torch.manual_seed(0)
    objective = method.objective(model.tuner, backbone, 4, config, task, modalities).train()
    height, width = backbone.preprocess.height, backbone.preprocess.width
    shape = (7, 2, 3, height, width) if modalities else (7, 3, height, width)
    images = torch.randn(shape, generator=generator)
    words = ["a man", "a woman in a long red coat with a bag", "x", "two words", "a b c d e", "coat", "a red red coat"]
    present = None
    if modalities:
        present = torch.ones(7, 2, dtype=torch.bool)
        present[2, 1] = present[5, 0] = False
    batch = Batch(
        images, labels=LABELS, seeds=torch.arange(7) * 977 + 5, present=present,
        texts=backbone.tokenizer(words) if task == "text" else None,
    )  # fmt: skip
    return model, objective, batch, lambda part, place: method.encode(model, part)


def gradients(modules):
    return {
        f"{number}.{name}": None if parameter.grad is None else parameter.grad.clone()
        for number, module in enumerate(modules)
        for name, parameter in module.named_parameters()
    }


@pytest.mark.parametrize("parts_of", [1, 3, 6])
@pytest.mark.parametrize(
    ("name", "settings", "task", "config"),
    [
        ("lora", {"dropout": 0.3}, "image", LossSection()),
        ("vpt", {"dropout": 0.3}, "image", LossSection()),
        ("clip-reid", {"tune": "lora"}, "image", LossSection()),
        ("dm-adapter", {}, "text", TEXT),
        ("cskt", {}, "text", TEXT),
        ("coop", {}, "text", TEXT),  # nothing of the image tower is trained
        ("dmpt", {}, "multimodal", LossSection(modality=1.0)),
    ],
)
def test_parts_give_the_loss_and_the_gradients_of_the_whole(backbone, name, settings, task, config, parts_of):
    model, objective, batch, encode = case(backbone, name, settings, task, config)
    modules = (model.tuner, objective)
    whole = forward(encode, objective, batch)
    whole.backward()
    expected = gradients(modules)
    for module in modules:
        module.zero_grad(set_to_none=True)
    parted = forward(encode, objective, batch, parts_of=parts_of)
    parted.backward()
    assert torch.allclose(parted.loss, whole.loss, rtol=1e-5)
    assert set(parted.parts) == set(whole.parts)
    found = gradients(modules)
    assert any(value is not None and value.abs().max() > 0 for value in expected.values())
    for key, value in expected.items():
        assert (value is None) == (found[key] is None), key
        if value is not None:
            assert (found[key] - value).abs().max() <= 1e-5 * value.abs().max().clamp(min=1e-3), key


def test_losses_of_parts_alone_are_not_that_of_the_batch(backbone):
    model, objective, batch, encode = case(backbone, "cskt", {}, "text", TEXT)
    whole = forward(encode, objective, batch).loss
    alone = sum(forward(encode, objective, part).loss * len(part.labels) / 7 for part in batch.split(3))
    assert (whole - alone).abs() > 1e-2


def test_two_passes_keep_less_than_one(backbone):
    from reidtune.training.memory import saved_bytes

    model, objective, batch, encode = case(backbone, "adapter", {}, "image", LossSection())
    held = [*model.tuner.parameters(), *backbone.model.parameters(), *objective.parameters()]
    one = saved_bytes(lambda: forward(encode, objective, batch), held)
    two = saved_bytes(lambda: forward(encode, objective, batch, parts_of=1), held)
    assert two < one / 20


def test_outputs_are_joined_by_their_kind():
    rows, once = torch.arange(4.0).view(2, 2), torch.ones(3)
    parts = [{"image": rows, f"{STATISTICS}a": once, f"{SHARED}b": once} for _ in range(2)]
    found = joined(parts)
    assert found["image"].shape == (4, 2)
    assert torch.equal(found[f"{STATISTICS}a"], 2 * once)
    assert torch.equal(found[f"{SHARED}b"], once)


def test_a_batch_splits_in_order():
    batch = Batch(torch.arange(5.0)[:, None], labels=torch.arange(5))
    parts = batch.split(2)
    assert [part.labels.tolist() for part in parts] == [[0, 1], [2, 3], [4]]
    assert parts[0].texts is None
    assert batch.split(None) == [batch] == batch.split(5)


def test_an_encoder_that_is_random_sees_the_same_numbers_twice():
    layer = nn.Linear(3, 2)

    def encode(part, place):
        torch.manual_seed(place)
        return {"image": nn.functional.dropout(layer(part.images), 0.5)}

    def objective(outputs, labels):
        return (outputs["image"] * torch.arange(2)).square().sum(), {}

    batch = Batch(torch.randn(4, 3), labels=torch.arange(4))
    done = forward(encode, objective, batch, parts_of=2)
    done.backward()
    found = layer.weight.grad.clone()
    layer.zero_grad()
    features = torch.cat([encode(part, place)["image"] for place, part in enumerate(batch.split(2))])
    loss, _ = objective({"image": features}, batch.labels)
    loss.backward()
    assert torch.allclose(done.loss, loss)
    assert torch.allclose(found, layer.weight.grad, rtol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (lambda part: {"scale": part.images.sum()}, r"scale has shape \[\]"),
        (lambda part: {"classes": torch.ones(5, 3)}, r"classes has shape \[5, 3\].*2 samples"),
        (lambda part: {"late": part.images} if part.labels[0] else {}, "late"),
    ],
)
def test_outputs_that_cannot_be_joined_are_named(outputs, said):
    batch = Batch(torch.randn(4, 3), labels=torch.arange(4))

    def encode(part, place):
        return {"image": part.images, **outputs(part)}

    with pytest.raises(ValueError, match=said):
        forward(encode, lambda found, labels: (found["image"].sum(), {}), batch, parts_of=2)
