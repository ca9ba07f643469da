"""A feed-forward adapter parallel to the MLP (MambaPro, Wang et al. 2025, arXiv 2412.10707)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component

STD = 0.02  # of initial weights


class FeedForward(nn.Module):
    """fc2(QuickGELU(fc1(x))), d → ``hidden`` → d; weights from a normal of 0.02 cut at ±2, biases 0."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        for linear in (self.fc1, self.fc2):
            nn.init.trunc_normal_(linear.weight, std=STD)
            nn.init.zeros_(linear.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [..., d] → [..., d]."""
        hidden = self.fc1(rows)
        outcome: Tensor = self.fc2(hidden * torch.sigmoid(1.702 * hidden))
        return outcome


class FeedForwardAdapter(Component):
    """x + MLP(LN x) + fc2(QuickGELU(fc1(x))) in every block, x the rows after attention, with 2 · d hidden units.

    Wider than the rows, without a norm, a scale or a start at zero: the start is near the backbone, not the backbone.
    All images share it, whatever their modality.
    """

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        for layer in range(tower.layers):
            self.add_module(str(layer), FeedForward(tower.width, 2 * tower.width))

    def beside_mlp(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        added: Tensor = self.get_submodule(str(layer))(tokens)
        return added
