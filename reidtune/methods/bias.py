"""Bias tuning: nothing but the biases of the blocks learns."""

from __future__ import annotations

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BLOCKS, BaseSettings, Method
from reidtune.tuning.blocks import last_blocks
from reidtune.tuning.component import Component
from reidtune.tuning.difference import Difference


class BiasSettings(BaseSettings):
    blocks: int = Field(0, ge=0, description=BLOCKS)


class Bias(Method):
    name = "bias"
    title = "Every bias of attention, MLP and LayerNorms; merges into the backbone"
    citation = (
        "Ben Zaken et al., BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked "
        "Language-models, ACL 2022, arXiv 2106.10199"
    )
    parameters_vit_b16 = 102_912
    silent = "The paper tunes language models; nothing is published for ReID."
    Settings = BiasSettings
    settings: BiasSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        tower = backbone.image
        names = tower.names_from(last_blocks(tower, self.settings.blocks).start)
        return {"difference": Difference(tower, [name for name in names if name.endswith("bias")])}
