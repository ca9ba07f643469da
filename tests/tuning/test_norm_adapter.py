"""Adapters beside the LayerNorms."""

import torch

from reidtune.backbone.walk import Walk
from reidtune.tuning.norm_adapter import NormAdapter


def test_both_norms_of_a_block_get_an_adapter_of_the_rows_before_the_norm(small_backbone):
    tower = small_backbone.image
    adapter = NormAdapter(tower, 8)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(generator=generator)
    rows, normed = torch.randn(2, 2, 5, tower.width, generator=torch.Generator().manual_seed(2))
    walk = Walk(tower=tower)
    outcomes = {}
    for name in ("ln_1", "ln_2"):
        block = adapter.get_submodule("1")
        part = block.get_submodule(name)
        expected = normed + block.get_parameter(f"{name}_scale") * part.up(part.down(rows).relu())
        outcomes[name] = adapter.norm(walk, 1, name, rows, normed)
        assert torch.allclose(outcomes[name], expected)
    assert not torch.equal(outcomes["ln_1"], outcomes["ln_2"])


def test_the_norms_outside_of_the_blocks_stay(small_backbone):
    adapter = NormAdapter(small_backbone.image, 8)
    rows = torch.randn(1, 2, 32)
    for layer, name in ((-1, "ln_pre"), (2, "ln_post")):
        assert adapter.norm(Walk(tower=small_backbone.image), layer, name, rows, rows) is rows
