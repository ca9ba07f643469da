"""Features from before the projection: the class row of the last block, and of the block before it."""

from __future__ import annotations

import torch
from torch import Tensor

from reidtune.backbone.image_tower import LAST, ImageTower
from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.errors import SettingsError
from reidtune.tuning.component import Component

BEFORE_LAST = "class-feature/before-last/row"
_NORMED = "class-feature/last/normed"


class ClassFeature(Component):
    """The feature becomes [ln_post(class row); its projection], [B, d + D], as CLIP-ReID ranks with.

    The class row that leaves the last block but one is left as the output :data:`BEFORE_LAST`. Trains nothing.
    """

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        if not tower.pools_class_row:
            raise SettingsError(
                f"The feature of this method is the class row, but this backbone pools by {tower.pooling}.",
                "Choose a backbone that pools the class row, such as ViT-B-16, or another method, such as lora.",
            )
        self.towers = (tower.kind,)
        self.layers = tower.layers
        self.first = max(0, tower.layers - 2)

    def block(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        if layer == self.layers - 2:
            walk.outputs[BEFORE_LAST] = tokens[:, 0]
        return tokens

    def norm(self, walk: Walk, layer: int, name: str, tokens: Tensor, normed: Tensor) -> Tensor:
        if layer == self.layers and name == LAST:
            walk.state[_NORMED] = normed
        return normed

    def pool(self, walk: Walk, tokens: Tensor, feature: Tensor) -> Tensor:
        return torch.cat([walk.state[_NORMED].to(feature.dtype), feature], dim=-1)

    def feature_width(self, tower: Tower, width: int) -> int:
        return tower.width + width
