"""Which block reads a parameter first, in every family; and what the last block alone can be tuned with."""

import pytest
import torch

from reidtune.backbone.walk import Walk
from reidtune.methods.registry import find_method
from reidtune.tuning.tuner import Tuner
from tests.backbone.families import FAMILIES, inputs


class Trace(Tuner):
    """Notes at which block each parameter is read first, and keeps the rows that enter the last one."""

    def __init__(self, layers, components=None):
        super().__init__(components)
        self.layers, self.at_block, self.read, self.last = layers, 0, {}, None

    def tokens(self, walk, layer, tokens):
        self.at_block, self.last = layer, tokens
        return super().tokens(walk, layer, tokens)

    def weight(self, walk, name, value):
        outside = 0 if self.last is None else self.layers
        self.read.setdefault(name, self.at_block if name.startswith(f"{walk.tower.blocks}.") else outside)
        return super().weight(walk, name, value)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_first_reader_of_every_parameter(family, name):
    backbone, _ = family(name)
    images, ids = inputs(backbone)
    for tower, batch in ((backbone.image, images), (backbone.text, ids)):
        trace = Trace(tower.layers)
        with torch.no_grad():
            tower(batch, trace)
        assert {key: tower.reader(key) for key in trace.read} == trace.read
        assert set(tower.names_from(1)) < set(tower.names_from(0)) == set(tower.names())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "full", "bias", "norm", "ssf", "vpt", "prefix"])
def test_the_rows_that_enter_the_last_block_stay_the_backbones(family, name, method):
    backbone, _ = family(name)
    page = find_method(method)
    tuner = page(page.Settings(blocks=1)).tuner(backbone).eval()
    with torch.no_grad():
        for parameter in tuner.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        images, tower = inputs(backbone)[0], backbone.image
        ours, plain = Trace(tower.layers, tuner.components()), Trace(tower.layers)
        assert not torch.allclose(tower(images, ours), tower(images, plain), atol=1e-5)
    patches = slice(0, plain.last.shape[1])
    assert torch.equal(ours.last[:, patches], plain.last)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tower_entered_at_any_block_is_the_whole_tower(family, name):
    backbone, _ = family(name)
    images, tower = inputs(backbone)[0], backbone.image
    page = find_method("adapter")
    last = page(page.Settings(blocks=1, width=4)).tuner(backbone).eval()
    with torch.no_grad():
        for parameter in last.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        for tuner, entries in ((Tuner(), range(tower.layers + 1)), (last, range(tower.layers))):
            whole = tower(images, tuner)
            for block in entries:
                rows = tower.rows_before(images, Tuner(), Walk(), block)
                assert torch.equal(tower.from_block(rows, tuner, Walk(), block), whole)
