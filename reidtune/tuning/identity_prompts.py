"""Learnable words for every training identity in a fixed sentence (CLIP-ReID, Li et al. 2023, arXiv 2211.13977)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component

_STD = 0.02


class IdentityPrompts(Component):
    """The rows ``start`` … ``start + count`` of a text become those of the identity that ``walk.labels`` names.

    One set of rows [C, count, d] for C training ``identities``, N(0, 0.02). Where no label is known the text stays.
    They serve training alone, and no delta holds them.
    """

    towers = ("text",)
    transient = ("rows",)

    def __init__(self, tower: Tower, identities: int, count: int, start: int) -> None:
        super().__init__()
        self.start = start
        self.rows = nn.Parameter(torch.randn(identities, count, tower.width) * _STD)

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        if place != "before_positions" or walk.labels is None:
            return tokens
        rows = self.rows[walk.labels].to(tokens.dtype)
        return torch.cat([tokens[:, : self.start], rows, tokens[:, self.start + rows.shape[1] :]], dim=1)
