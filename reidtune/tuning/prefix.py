"""Prefix rows on the keys and values of attention (prefix tuning, Li and Liang 2021, arXiv 2101.00190)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component

_HIGHEST = 0.01  # prefix rows start uniform from 0 to this, as UP-Person's code has them


class Prefix(Component):
    """``count`` extra key and value rows in every block from ``first`` on, seen by every query.

    ``scale`` None is plain prefix tuning. A number makes it the scaled prefix of UP-Person (S-Prefix, arXiv
    2504.10084): after the softmax, what a query attends to the prefix is multiplied by a learnable scalar a block that
    starts there; the same as scaling the value rows, which is what is done.
    """

    def __init__(self, tower: Tower, count: int, scale: float | None = None, first: int = 0) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.first = first
        layers = tower.layers - first
        self.key = nn.Parameter(torch.rand(layers, count, tower.width) * _HIGHEST)
        self.value = nn.Parameter(torch.rand(layers, count, tower.width) * _HIGHEST)
        self.scale = None if scale is None else nn.Parameter(torch.full((layers,), float(scale)))

    def key_value(self, walk: Walk, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        place = layer - self.first
        rows = self.value[place] if self.scale is None else self.scale[place] * self.value[place]
        keys, values = (part.to(key.dtype).expand(len(key), -1, -1) for part in (self.key[place], rows))
        return torch.cat([keys, key], dim=1), torch.cat([values, value], dim=1)
