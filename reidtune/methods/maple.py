"""MaPLe: text prompts, mapped into the image tower."""

from __future__ import annotations

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BaseSettings, Method
from reidtune.tuning.component import Component
from reidtune.tuning.prompt_rows import CoupledPrompts


class MapleSettings(BaseSettings):
    tokens: int = Field(2, gt=0, description="prompt rows of a prompted block")
    depth: int = Field(9, gt=0, description="blocks with prompts of their own, at most those of the shallower tower")


class Maple(Method):
    name = "maple"
    title = "Text prompts of the first blocks, mapped linearly into the image tower"
    citation = "Khattak et al., MaPLe: Multi-modal Prompt Learning, CVPR 2023, arXiv 2210.03117"
    tasks = ("text",)
    neutral_start = False
    parameters_vit_b16 = 3_555_072
    silent = (
        "The paper classifies images by templates and starts the first prompt from the words of one; here it starts "
        "N(0, 0.02), with SDM. Nothing is published for ReID."
    )
    Settings = MapleSettings
    settings: MapleSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen = self.settings
        return {"prompts": CoupledPrompts(backbone.image, backbone.text, chosen.tokens, chosen.depth)}
