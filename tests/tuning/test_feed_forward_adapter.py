"""The feed-forward adapter against its formula."""

import pytest
import torch

from reidtune.backbone.walk import Walk
from reidtune.tuning.feed_forward_adapter import FeedForwardAdapter
from reidtune.tuning.tuner import Tuner


def test_what_is_added_is_the_published_formula(small_backbone):
    tower = small_backbone.image
    adapter = FeedForwardAdapter(tower)
    rows = torch.randn(2, 5, tower.width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    for layer in range(tower.layers):
        own = {name.removeprefix(f"{layer}."): value for name, value in adapter.state_dict().items()}
        hidden = rows @ own["fc1.weight"].T + own["fc1.bias"]
        hidden = hidden / (1 + torch.exp(-1.702 * hidden))
        expected = hidden @ own["fc2.weight"].T + own["fc2.bias"]
        assert torch.allclose(adapter.beside_mlp(Walk(tower=tower), layer, rows), expected, atol=1e-5)


def test_it_reads_the_rows_after_attention_and_is_added_to_the_rows_that_leave(small_backbone):
    tower = small_backbone.image
    adapter = FeedForwardAdapter(tower)
    images = torch.randn(2, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    seen = {}

    class Trace(Tuner):
        def attention(self, walk, layer, tokens, attended):
            seen["after attention", layer] = tokens
            return tokens

        def beside_mlp(self, walk, layer, tokens):
            return super().beside_mlp(walk, layer, tokens)

        def block(self, walk, layer, tokens):
            seen["out", layer] = tokens
            return tokens

    class Without(Trace):
        def beside_mlp(self, walk, layer, tokens):
            return None

    with torch.no_grad():
        tower(images, Trace({"adapter": adapter}))
        ours = dict(seen)
        tower(images, Without({"adapter": adapter}))
        added = adapter.beside_mlp(Walk(tower=tower), 0, seen["after attention", 0])
    assert torch.equal(ours["after attention", 0], seen["after attention", 0])
    assert torch.allclose(ours["out", 0], seen["out", 0] + added, atol=1e-6)


def test_shapes_counts_and_start(vit_b_16):
    adapter = FeedForwardAdapter(vit_b_16.image)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 28_339_200
    state = adapter.state_dict()
    assert state["3.fc1.weight"].shape == (1536, 768)
    assert state["3.fc2.weight"].std().item() == pytest.approx(0.02, rel=0.01)
    assert not any(value.any() for name, value in state.items() if name.endswith("bias"))
