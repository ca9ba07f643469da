"""Bottleneck adapters parallel to the MLP (AdaptFormer, Chen et al. 2022, arXiv 2205.13535)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component
from reidtune.tuning.dropout import row_dropout


class _Bottleneck(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)


class ParallelAdapter(Component):
    """x + MLP(LN x) + s · up(ReLU(down(x))) in every block, x the rows after attention, without a norm of its own.

    ``hidden`` is the bottleneck width; down starts kaiming-uniform, up and the biases at zero, so the start is the
    backbone. Dropout acts on the bottleneck while training.
    """

    def __init__(self, tower: Tower, hidden: int, scale: float = 0.1, dropout: float = 0.0) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.scale = scale
        self.dropout = dropout
        for layer in range(tower.layers):
            self.add_module(str(layer), _Bottleneck(tower.width, hidden))

    def beside_mlp(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        adapter: _Bottleneck = self.get_submodule(str(layer))  # type: ignore[assignment]
        hidden = F.relu(adapter.down(tokens))
        if self.training:
            hidden = row_dropout(hidden, self.dropout, walk.seeds, f"adapter/{layer}")
        added: Tensor = self.scale * adapter.up(hidden)
        return added
