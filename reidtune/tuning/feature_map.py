"""A linear map of the feature itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component


class FeatureMap(Component):
    """f ← W f on the feature of a tower, W [D, D] starting as the identity."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.first = tower.layers + 1  # the feature is all it reads
        self.matrix = nn.Parameter(torch.eye(tower.output_width))

    def pool(self, walk: Walk, tokens: Tensor, feature: Tensor) -> Tensor:
        return F.linear(feature, self.matrix)

    def merge(self, values: dict[str, Tensor], tower: Tower) -> bool:
        return tower.merge_map(values, self.matrix.detach().cpu())
