"""CSKT against numbers of its public implementation."""

import pytest
import torch

from reidtune.backbone.walk import Walk
from reidtune.losses.matching import similarity_distribution_matching
from reidtune.methods.cskt import Cskt, CsktSettings
from reidtune.tuning.tuner import Tuner
from tests.methods.golden_tower import close, read, relative


class Towers:
    """What a method needs of a backbone to build its components."""

    def __init__(self, image, text):
        self.image, self.text = image, text


@pytest.fixture
def case(golden):
    tensors, explanation, image, text = read(golden, "cskt_tower")
    tuner = Tuner(Cskt(CsktSettings()).components(Towers(image, text)))
    layers = range(image.layers)
    values = {
        "prompts.text": torch.stack([tensors[f"prompt.text.{layer}"] for layer in layers]),
        "prompts.image": torch.stack([tensors[f"prompt.visual.{layer}"] for layer in layers]),
    }
    for layer in layers:
        for part in ("weight", "bias"):
            values[f"prompts.to_image.{layer}.{part}"] = tensors[f"proj.text_to_visual.{layer}.{part}"]
            values[f"prompts.to_text.{layer}.{part}"] = tensors[f"proj.visual_to_text.{layer}.{part}"]
            for ours, theirs in (("image", "visual"), ("text", "text")):
                values[f"{ours}_adapter.{layer}.norm.{part}"] = tensors[f"adapter.{theirs}.{layer}.ln.{part}"]
                for linear in ("down", "up"):
                    name = f"{layer}.{linear}.{part}"
                    values[f"{ours}_adapter.{name}"] = tensors[f"adapter.{theirs}.{name}"]
    tuner.load_tensors(values)
    return tensors, explanation["tolerance"], image, text, tuner


def gradients(tuner, tensors):
    """Pairs (ours, theirs) of every gradient."""
    for name, parameter in tuner.named_parameters():
        if name in ("prompts.text", "prompts.image"):
            theirs = "text" if name == "prompts.text" else "visual"
            for layer, ours in enumerate(parameter.grad):
                yield ours, tensors[f"grad.prompt.{theirs}.{layer}"]
            continue
        theirs = name.replace("prompts.to_image", "proj.text_to_visual").replace(
            "prompts.to_text", "proj.visual_to_text"
        )
        theirs = theirs.replace("image_adapter", "adapter.visual").replace("text_adapter", "adapter.text")
        yield parameter.grad, tensors[f"grad.{theirs.replace('.norm.', '.ln.')}"]


def test_features_loss_and_gradients_are_those_of_the_public_code(case):
    tensors, tolerance, image, text, tuner = case
    ours_image, ours_text = image(tensors["input.images"], tuner), text(tensors["input.token_ids"], tuner)
    assert close(ours_image, tensors["output.image_features"], tolerance["features"])
    assert close(ours_text, tensors["output.text_features"], tolerance["features"])
    loss = similarity_distribution_matching(ours_image, ours_text, tensors["input.pids"])
    assert close(loss, tensors["output.sdm"], tolerance["losses"])
    loss.backward()
    pairs = list(gradients(tuner, tensors))
    assert len(pairs) == sum(name.startswith("grad.") for name in tensors)
    for ours, theirs in pairs:
        assert close(ours, theirs, tolerance["grad"])
        assert relative(ours, theirs) < 2e-4


def test_rewritten_ids_are_those_of_the_public_code_but_for_the_placeholders(case):
    tensors, _, _, text, tuner = case
    given = tensors["input.token_ids"].clone()
    walk = Walk()
    text(given, tuner, walk)
    assert torch.equal(given, tensors["input.token_ids"])  # never edited in place
    words = torch.ones(77, dtype=torch.bool)
    words[1:9] = False
    assert torch.equal(walk.ids[:, words], tensors["output.rewritten_ids"][:, words])
    assert (walk.ids[:, 1:9] < tensors["input.token_ids"].max()).all()
    assert torch.equal(walk.ids.argmax(dim=1), tensors["output.rewritten_ids"].argmax(dim=1))


def test_texts_cut_to_the_longest_of_a_batch_have_the_same_features(case):
    tensors, _, _, text, tuner = case
    with torch.no_grad():
        short = text(tensors["input.token_ids"][:2], tuner)
    assert relative(short, tensors["output.text_features"][:2]) < 1e-5


def test_states_after_every_block_are_those_of_the_public_code(case):
    tensors, tolerance, image, text, tuner = case
    seen = {}

    class Trace(Tuner):
        def reads_all_tokens(self, walk):
            return True

        def block(self, walk, layer, tokens):
            seen[walk.kind, layer] = tokens.detach()
            return super().block(walk, layer, tokens)

    trace = Trace(dict(tuner.named_children()))
    image(tensors["input.images"], trace)
    text(tensors["input.token_ids"], trace)
    for layer in range(3):
        for kind, theirs in (("image", "visual"), ("text", "text")):
            expected = tensors[f"trace.{theirs}.block{layer}"].transpose(0, 1)
            assert close(seen[kind, layer], expected, tolerance["features"])


def test_the_order_of_the_halves_matters_in_the_text_tower(case):
    tensors, tolerance, _, text, tuner = case
    prompts = tuner.get_submodule("prompts")
    original = prompts.rows
    prompts.rows = lambda kind, layer: original(kind, layer).roll(prompts.text.shape[1], dims=0)
    swapped = text(tensors["input.token_ids"], tuner)
    assert not close(swapped, tensors["output.text_features"], tolerance["features"])


def test_the_zero_start_leaves_the_adapters_out_at_first(small_backbone):
    method = Cskt(CsktSettings(start="zero", tokens=2))
    tuner = method.tuner(small_backbone)
    alone = Tuner({"prompts": tuner.get_submodule("prompts")})
    images = torch.randn(2, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(small_backbone.image(images, tuner), small_backbone.image(images, alone), atol=1e-6)
