"""Full fine-tuning, the baseline that everything is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BLOCKS, DIFFERENCE_RANK, TOWERS, BaseSettings, Method, Towers
from reidtune.tuning.blocks import last_blocks
from reidtune.tuning.component import Component
from reidtune.tuning.difference import Difference


class FullSettings(BaseSettings):
    towers: Towers = Field("auto", description=TOWERS)
    blocks: int = Field(0, ge=0, description=BLOCKS)
    difference_rank: int = Field(0, ge=0, description=DIFFERENCE_RANK)


class Full(Method):
    name = "full"
    title = "Every parameter of the image tower (of both towers for text data); the delta is as large as they are"
    citation = (
        "The baseline of every paper here; settings after Li et al., CLIP-ReID, AAAI 2023, and Jiang and Ye, IRRA, "
        "CVPR 2023"
    )
    tasks = ("image", "text", "multimodal")
    parameters_vit_b16 = 86_140_416
    claims: ClassVar[Mapping[str, Any]] = {"CUHK-PEDES": {"rank-1": 68.19, "mAP": 61.12, "from": "IRRA's README"}}
    silent = "Weight decay acts on the difference to the backbone."
    Settings = FullSettings
    settings: FullSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen = self.settings
        return {
            f"{prefix}difference": Difference(
                tower, tower.names_from(last_blocks(tower, chosen.blocks).start), chosen.difference_rank
            )
            for prefix, tower in self.towers(backbone).items()
        }
