"""DM-Adapter against numbers of its public implementation."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from reidtune.backbone.walk import Walk
from reidtune.config import LossSection
from reidtune.losses.matching import similarity_distribution_matching
from reidtune.losses.objective import STATISTICS
from reidtune.losses.text_objective import TextObjective
from reidtune.methods.dm_adapter import DmAdapter, DmAdapterSettings
from reidtune.tuning.experts import Experts, _Grouped, _Wide
from reidtune.tuning.mixture import AdapterMixture, _Layer
from reidtune.tuning.tuner import Tuner
from tests.methods.golden_tower import close, read, relative

EXPERTS = 6


class Towers:
    def __init__(self, image, text):
        self.image, self.text = image, text


def stacked(find, tower):
    """Our tensors of one layer from theirs; ``find(name)`` gives one of theirs."""
    experts = range(EXPERTS)
    return {
        "norm.weight": find("ln.weight"),
        "norm.bias": find("ln.bias"),
        "gate.weight": find("gate_in.weight"),
        "domain_gate.weight": find("gate_task.weight"),
        "domain": find("task_param"),
        "alpha": find("alpha"),
        "down.weight": torch.cat([find(f"experts.{e}.down.weight") for e in experts]),
        "down.bias": torch.cat([find(f"experts.{e}.down.bias") for e in experts]),
        "up": torch.cat([find(f"experts.{e}.up.weight").T for e in experts]),
        "up_bias": torch.stack([find(f"experts.{e}.up.bias") for e in experts]),
    }


@pytest.fixture
def case(golden):
    tensors, explanation, image, text = read(golden, "dm_adapter_tower")
    tuner = Tuner(DmAdapter(DmAdapterSettings()).components(Towers(image, text)))
    values, expected = {}, {}
    for tower, theirs in ((image, "visual"), (text, "text")):
        for layer in range(tower.layers):
            place = f"{theirs}.{layer}"
            for name, value in stacked(lambda n, p=place: tensors[f"adapter.{p}.{n}"], tower).items():
                values[f"{tower.kind}_mixture.{layer}.{name}"] = value
            for name, value in stacked(lambda n, p=place: tensors[f"grad.{p}.{n}"], tower).items():
                expected[f"{tower.kind}_mixture.{layer}.{name}"] = value
    tuner.load_tensors(values)
    return tensors, explanation["tolerance"], image, text, tuner.train(), expected


def test_features_losses_and_gradients_are_those_of_the_public_code(case):
    tensors, tolerance, image, text, tuner, expected = case
    walks = [Walk(), Walk()]
    outputs = {
        "image": image(tensors["input.images"], tuner, walks[0]),
        "text": text(tensors["input.token_ids"], tuner, walks[1]),
    }
    for walk in walks:
        outputs |= {f"{STATISTICS}{name}": value for name, value in walk.statistics.items()}
    assert close(outputs["image"], tensors["output.image_features"], tolerance["features"])
    assert close(outputs["text"], tensors["output.text_features"], tolerance["features"])
    balance = [tuner.auxiliary(walk.statistics) for walk in walks]
    assert close(balance[0]["image_mixture/balance"], tensors["output.aux_visual"], tolerance["losses"])
    assert close(balance[1]["text_mixture/balance"], tensors["output.aux_text"], tolerance["losses"])
    config = LossSection(sdm=1.0, identity=0.0, triplet=0.0, auxiliary=0.5)
    loss, parts = TextObjective(24, 4, config, tuner.auxiliary)(outputs, tensors["input.pids"])
    assert set(parts) == {"sdm", "image_mixture/balance", "text_mixture/balance"}
    assert close(parts["sdm"], tensors["output.sdm"], tolerance["losses"])
    assert close(loss, tensors["output.loss"], tolerance["losses"])
    loss.backward()
    for name, parameter in tuner.named_parameters():
        assert close(parameter.grad, expected[name], tolerance["grad"]), name
        assert relative(parameter.grad, expected[name]) < 1e-4, name


def test_the_padding_counts_in_training_and_is_left_out_of_inference(case):
    tensors, tolerance, _, text, tuner, _ = case
    walk = Walk()
    text(tensors["input.token_ids"], tuner, walk)
    assert walk.statistics["mixture/text/0/rows"] == tensors["input.token_ids"].numel()
    short = tensors["input.token_ids"].clone()
    walk = Walk()
    with torch.no_grad():
        features = text(short, tuner.eval(), walk)
    assert walk.ids.shape[1] == int(short.argmax(dim=1).max()) + 1
    assert not walk.statistics
    assert close(features, tensors["output.text_features"], tolerance["features"])


def test_statistics_of_two_halves_add_up_to_the_whole(case):
    tensors, _, image, _, tuner, _ = case
    whole, halves = Walk(), [Walk(), Walk()]
    image(tensors["input.images"], tuner, whole)
    for walk, part in zip(halves, tensors["input.images"].split([2, 4]), strict=True):
        image(part, tuner, walk)
    added = {name: halves[0].statistics[name] + halves[1].statistics[name] for name in whole.statistics}
    ours, theirs = (tuner.auxiliary(statistics)["image_mixture/balance"] for statistics in (added, whole.statistics))
    assert torch.allclose(ours, theirs, rtol=1e-6)


def test_one_layer_is_that_of_the_public_code(golden):
    tensors = load_file(golden / "dm_adapter_layer.safetensors")
    tolerance = json.loads((golden / "dm_adapter_layer.json").read_text())["tolerance"]
    layer = _Layer(32, 4, EXPERTS)
    renamed = {"gate_in.weight": "weight.input_gate.weight", "gate_task.weight": "weight.task_gate.weight"}

    def find(prefix):
        def one(name):
            if name.startswith("ln."):
                return torch.ones(32) if name == "ln.weight" else torch.zeros(32)
            if name == "task_param":
                return tensors["input.task_param" if prefix == "weight" else "grad.task_param"]
            return tensors[renamed.get(name, f"weight.{name}").replace("weight.", f"{prefix}.", 1)]

        return one

    layer.load_state_dict(stacked(find("weight"), None))
    inputs = tensors["input.x"].flatten(0, 1)  # rows that are normed already
    with torch.no_grad():
        logits = F.linear(inputs, *layer.gates())
    kept, chosen = logits.topk(2, dim=-1)
    assert torch.equal(chosen.sort(dim=-1).values, tensors["ref.topk_indices"].flatten(0, 1).sort(dim=-1).values)
    probability = logits.softmax(dim=-1).mean(dim=0)
    share = torch.zeros_like(logits).scatter(-1, chosen, 1.0).mean(dim=0)
    assert close((probability * share).sum(), tensors["output.aux"], tolerance["forward"])
    experts = Experts(*(value.detach() for value in (layer.down.weight, layer.down.bias, layer.up, layer.up_bias)))
    theirs = stacked(find("grad"), None)
    for form in (_Grouped, _Wide):
        mixed = form.mix(inputs, kept.softmax(dim=-1), chosen, experts)
        assert close(mixed, tensors["output.y"].flatten(0, 1), tolerance["forward"])
        # the loss was the sum of squares, and half of the balance, which experts do not enter
        _, _, found = form.gradients(2 * mixed, inputs, kept.softmax(dim=-1), chosen, experts)
        for name, value in zip(("down.weight", "down.bias", "up", "up_bias"), found, strict=True):
            assert close(value, theirs[name], tolerance["grad"]), name


def test_an_even_load_balances_at_k_over_e_a_layer():
    class One:
        kind, width, layers = "image", 16, 1

    mixture = AdapterMixture(One, EXPERTS, 2, 8, 0.1)
    even = {
        "mixture/image/0/probability": torch.full((EXPERTS,), 50.0 / EXPERTS),
        "mixture/image/0/chosen": torch.full((EXPERTS,), 100.0 / EXPERTS),
        "mixture/image/0/rows": torch.tensor(50.0),
    }
    assert float(mixture.auxiliary(even)["balance"]) == pytest.approx(2 / EXPERTS)


def test_unchosen_experts_change_nothing(small_backbone):
    tuner = DmAdapter(DmAdapterSettings(experts=3, active=1)).tuner(small_backbone)
    generator = torch.Generator().manual_seed(2)
    layer = tuner.get_submodule("image_mixture.0")
    tokens = torch.randn(2, 5, 32, generator=generator)
    with torch.no_grad():
        layer.up.normal_(generator=generator)
        layer.gate.weight.zero_()
        layer.domain_gate.weight.copy_(torch.tensor([0.0, 1.0, -1.0])[:, None] * layer.domain)  # all choose the second
        before, _ = layer(tokens, 1)
        hidden = layer.up.shape[0] // 3
        layer.up[:hidden] = 1e3
        layer.up_bias[2] = 1e3
        assert torch.equal(layer(tokens, 1)[0], before)


def test_more_active_than_experts_is_refused():
    with pytest.raises(ValueError, match="active 7 is more than the 6 experts"):
        DmAdapterSettings(active=7)


def test_sdm_of_the_golden_features(case):
    tensors, tolerance, *_ = case
    loss = similarity_distribution_matching(
        tensors["output.image_features"], tensors["output.text_features"], tensors["input.pids"]
    )
    assert close(loss, tensors["output.sdm"], tolerance["losses"])
