"""Norm tuning: nothing but weights and biases of the LayerNorms learns."""

from __future__ import annotations

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BLOCKS, BaseSettings, Method
from reidtune.tuning.blocks import last_blocks
from reidtune.tuning.component import Component
from reidtune.tuning.difference import Difference


class NormSettings(BaseSettings):
    blocks: int = Field(0, ge=0, description=BLOCKS)


class Norm(Method):
    name = "norm"
    title = "Weights and biases of every LayerNorm; merges into the backbone"
    citation = (
        "Basu et al., Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning, AAAI 2024, arXiv 2304.01917 "
        "(LN-Tune)"
    )
    parameters_vit_b16 = 39_936
    silent = "The paper tunes for few-shot classification; nothing is published for ReID."
    Settings = NormSettings
    settings: NormSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        tower = backbone.image
        names = tower.names_from(last_blocks(tower, self.settings.blocks).start)
        norms = set(tower.norm_names())
        return {"difference": Difference(tower, [name for name in names if name in norms])}
