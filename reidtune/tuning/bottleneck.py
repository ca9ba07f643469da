"""The bottleneck that adapters share: down, ReLU, up."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.walk import Walk
from reidtune.tuning.dropout import row_dropout

NORMAL_STD = 0.02


class Bottleneck(nn.Module):
    """d → ``hidden`` → d. ``start`` ``zero``: down kaiming-uniform (a = √5), up zero, so that it adds nothing;
    ``normal``: both N(0, 0.02). Biases start at zero."""

    def __init__(self, width: int, hidden: int, start: str = "zero", norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else None
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        if start == "zero":
            nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
            nn.init.zeros_(self.up.weight)
        else:
            nn.init.normal_(self.down.weight, std=NORMAL_STD)
            nn.init.normal_(self.up.weight, std=NORMAL_STD)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor, walk: Walk, dropout: float = 0.0, place: str = "") -> Tensor:
        """Rows [..., d] → [..., d]; dropout acts on the bottleneck while training."""
        if self.norm is not None:
            tokens = self.norm(tokens)
        hidden = F.relu(self.down(tokens))
        if self.training:
            hidden = row_dropout(hidden, dropout, walk, place)
        outcome: Tensor = self.up(hidden)
        return outcome
