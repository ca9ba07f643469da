"""VPT: visual prompt tuning, shallow or deep."""

from __future__ import annotations

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BLOCKS, BaseSettings, Method
from reidtune.tuning.blocks import last_blocks
from reidtune.tuning.component import Component
from reidtune.tuning.prompts import VisualPrompts


class VptSettings(BaseSettings):
    tokens: int = Field(10, gt=0, description="prompt rows in a prompted block")
    deep: bool = Field(True, description="own prompts in every block (deep) or only before the first (shallow)")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the prompts")
    blocks: int = Field(0, ge=0, description=BLOCKS)


class Vpt(Method):
    name = "vpt"
    title = "Learnable prompt rows between the class row and the patches"
    citation = "Jia et al., Visual Prompt Tuning, ECCV 2022, arXiv 2203.12119"
    neutral_start = False  # prompts are attended to from the first step
    parameters_vit_b16 = 92_160
    silent = "The paper tunes ImageNet-21k ViTs for classification; for CLIP's ln_pre, prompts enter after it."
    Settings = VptSettings
    settings: VptSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen, tower = self.settings, backbone.image
        first = last_blocks(tower, chosen.blocks).start
        return {"prompts": VisualPrompts(tower, chosen.tokens, chosen.deep, chosen.dropout, first)}
