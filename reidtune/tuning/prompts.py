"""Visual prompts: learnable rows in front of the patches, behind the class row where there is one (VPT, Jia et al.
2022, arXiv 2203.12119)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from reidtune.backbone.image_tower import ImageTower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component
from reidtune.tuning.dropout import row_dropout


class VisualPrompts(Component):
    """``count`` prompt rows per prompted block.

    Shallow prompts enter block ``first`` and are carried on; deep prompts are dropped and replaced before every block
    from there on (VPT, Eq. 4–7, where it is block 0). They start uniform in ±√(6 / (3·patch² + d)), as the
    paper's code does.
    """

    def __init__(self, tower: ImageTower, count: int, deep: bool, dropout: float = 0.0, first: int = 0) -> None:
        super().__init__()
        self.count = count
        self.leading = tower.leading
        self.dropout = dropout
        self.first = first
        layers = tower.layers - first if deep else 1
        bound = math.sqrt(6 / (3 * tower.patch[0] * tower.patch[1] + tower.width))
        self.rows = nn.Parameter(torch.empty(layers, count, tower.width).uniform_(-bound, bound))

    def tokens(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        place = layer - self.first
        if place >= len(self.rows):
            return tokens
        rows = self.rows[place].expand(len(tokens), -1, -1).to(tokens.dtype)
        if self.training:
            rows = row_dropout(rows, self.dropout, walk, f"prompts/{layer}")
        walk.rows.before = self.count
        patches = tokens[:, self.leading + (self.count if place else 0) :]
        return torch.cat([tokens[:, : self.leading], rows, patches], dim=1)
