"""Adapters beside the LayerNorms of every block (UP-Person's L-Adapter, Liu et al. 2025, arXiv 2504.10084)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.bottleneck import Bottleneck
from reidtune.tuning.component import Component


class NormAdapter(Component):
    """LN(x) + s · up(ReLU(down(x))) at both LayerNorms of a block; s is a learnable scalar that starts at 1.

    ``reduction`` divides the width to the bottleneck's. Up starts at zero, so the start is the backbone.
    """

    def __init__(self, tower: Tower, reduction: int) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        for layer in range(tower.layers):
            block = nn.Module()
            for name in ("ln_1", "ln_2"):
                block.add_module(name, Bottleneck(tower.width, tower.width // reduction))
                block.register_parameter(f"{name}_scale", nn.Parameter(torch.tensor(1.0)))
            self.add_module(str(layer), block)

    def norm(self, walk: Walk, layer: int, name: str, tokens: Tensor, normed: Tensor) -> Tensor:
        if name not in ("ln_1", "ln_2"):
            return normed
        block = self.get_submodule(str(layer))
        adapter = block.get_submodule(name)
        added: Tensor = block.get_parameter(f"{name}_scale") * adapter(tokens, walk)
        return normed + added
