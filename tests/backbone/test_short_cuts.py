"""What a tower leaves out, on every family: outputs and gradients of a component at every site stay as they are."""

import pytest
import torch
from torch import nn

from reidtune.backbone.walk import Walk
from reidtune.tuning.component import SITES, Component
from reidtune.tuning.dropout import row_dropout
from reidtune.tuning.tuner import Tuner
from tests.backbone.families import FAMILIES, inputs, relative


class Everywhere(Component):
    """Acts at every site, with dropout, and puts two rows in front of the keys."""

    def __init__(self, tower, reads=False):
        super().__init__()
        self.towers = (tower.kind,)
        self.reads = reads
        generator = torch.Generator().manual_seed(1)
        self.scale = nn.ParameterDict(
            {site: nn.Parameter(0.1 * torch.randn(tower.layers + 1, generator=generator)) for site in SITES}
        )
        self.rows = nn.Parameter(torch.randn(2, tower.width, generator=generator))

    def reads_all_tokens(self):
        return self.reads

    def changed(self, walk, site, layer, values):
        place = f"{site}/{layer}"
        return values * (1 + row_dropout(torch.ones_like(values), 0.2, walk, place) * self.scale[site][layer])

    def embed(self, walk, place, tokens):
        return self.changed(walk, "embed", 0, tokens)

    def tokens(self, walk, layer, tokens):
        return self.changed(walk, "tokens", layer, tokens)

    def norm(self, walk, layer, name, tokens, normed):
        return normed * (1 + self.scale["norm"][max(layer, 0)])

    def weight(self, walk, name, value):
        return value * (1 + self.scale["weight"][0])

    def linear(self, walk, layer, name, inputs, outputs):
        return self.changed(walk, "linear", layer, outputs) + inputs.mean(dim=-1, keepdim=True)

    def key_value(self, walk, layer, key, value):
        rows = (self.scale["key_value"][layer] * self.rows).to(key.dtype).expand(len(key), -1, -1)
        return torch.cat([rows, key], dim=1), torch.cat([rows, value], dim=1)

    def attention(self, walk, layer, tokens, attended):
        return self.changed(walk, "attention", layer, tokens) + 0.1 * attended

    def beside_mlp(self, walk, layer, tokens):
        return self.changed(walk, "beside_mlp", layer, tokens)

    def block(self, walk, layer, tokens):
        return self.changed(walk, "block", layer, tokens)

    def pool(self, walk, tokens, feature):
        return feature * (1 + self.scale["pool"][0])


def result(tower, batch, reads):
    tuner = Tuner({"everywhere": Everywhere(tower, reads)}).train()
    walk = Walk(seeds=torch.arange(5, 5 + len(batch)))
    features = tower(batch, tuner, walk)
    assert walk.kept is None
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    return features.detach(), {name: value.grad for name, value in tuner.named_parameters()}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", ["image", "text"])
def test_what_is_left_out_changes_nothing(family, name, kind):
    backbone, _ = family(name)
    tower, batch = getattr(backbone, kind), inputs(backbone, 3)[kind == "text"]
    features, gradients = result(tower, batch, reads=False)
    expected, their_gradients = result(tower, batch, reads=True)
    assert relative(features, expected) < 1e-5
    largest = max(value.abs().max() for value in their_gradients.values())
    for key, value in their_gradients.items():
        assert (gradients[key] - value).abs().max() <= 1e-5 * largest, key


@pytest.mark.parametrize("name", ["clip", "worldwide"])
def test_a_text_that_fills_its_context_is_not_cut(family, name):
    backbone, _ = family(name)
    ids = torch.full((2, backbone.text.context), 7)
    ids[:, -1] = backbone.text.eos_id if backbone.text.pooling == "eos" else 49407
    assert relative(result(backbone.text, ids, False)[0], result(backbone.text, ids, True)[0]) < 1e-5


class Replaced(Component):
    """Puts two rows behind the patches of the first block and replaces them before each other one, as ``walk.rows``
    tells; the first block that it meets leaves a scale in ``walk.state``."""

    def __init__(self, tower):
        super().__init__()
        self.rows = nn.Parameter(torch.randn(tower.layers, 2, tower.width, generator=torch.Generator().manual_seed(1)))

    def tokens(self, walk, layer, tokens):
        if "replaced/0/scale" not in walk.state:
            walk.state["replaced/0/scale"] = tokens.mean(dim=(1, 2), keepdim=True) + self.rows.mean()
        rows = self.rows[layer].expand(len(tokens), -1, -1) * (1 + walk.state["replaced/0/scale"])
        own = tokens[:, : tokens.shape[1] - walk.rows.behind]
        walk.rows.behind = 2
        return torch.cat([own, rows], dim=1)


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_block_computed_again_meets_the_walk_as_it_was(family, blocks):
    backbone, _ = family("clip")
    tower, images = backbone.image, inputs(backbone, 3)[0]
    tuner = Tuner({"replaced": Replaced(tower)}).train()
    found = []
    try:
        for tower.recomputed in (0, blocks):
            tuner.zero_grad()
            features = tower(images, tuner)
            features.square().sum().backward()
            found.append((features.detach(), tuner.get_parameter("replaced.rows").grad.clone()))
    finally:
        tower.recomputed = 0
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
