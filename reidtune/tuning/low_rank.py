"""Low-rank differences of linear maps (LoRA, Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component
from reidtune.tuning.dropout import row_dropout

LINEARS = ("q", "k", "v", "out", "fc1", "fc2")


class _Pair(nn.Module):
    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.empty(rank, inputs))
        self.B = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def product(self) -> Tensor:
        """B A [out, in]"""
        product: Tensor = self.B.detach() @ self.A.detach()
        return product.cpu()


class LowRank(Component):
    """y = W x + (α / r) B A x for the chosen linear maps of every block from ``first`` on.

    A [r, in] starts kaiming-uniform (a = √5), B [out, r] at zero, so the start is the backbone. The product is applied
    to the activations: W + B A is never formed while training.
    """

    def __init__(
        self, tower: Tower, targets: Sequence[str], rank: int, alpha: float, dropout: float = 0.0, first: int = 0
    ) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.scale = alpha / rank
        self.dropout = dropout
        self.first = first
        for layer in range(self.first, tower.layers):
            pairs = {name: _Pair(*tower.linear_shape(name), rank) for name in targets}
            self.add_module(str(layer), nn.ModuleDict(pairs))

    def pairs(self, layer: int) -> dict[str, _Pair]:
        """The pairs of a block by the name of their linear map."""
        return {name: pair for name, pair in self.get_submodule(str(layer)).named_children() if isinstance(pair, _Pair)}

    def linear(self, walk: Walk, layer: int, name: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        pairs = self.pairs(layer)
        if name not in pairs:
            return outputs
        pair = pairs[name]
        if self.training:
            inputs = row_dropout(inputs, self.dropout, walk, f"low-rank/{layer}/{name}")
        return outputs + self.scale * F.linear(F.linear(inputs, pair.A), pair.B)

    def merge(self, values: dict[str, Tensor], tower: Tower) -> bool:
        for layer in range(self.first, tower.layers):
            for name, pair in self.pairs(layer).items():
                place = tower.linear(layer, name)
                values[place.weight][place.start : place.start + place.outputs] += self.scale * pair.product()
        return True
