"""IVLP: independent prompts in both towers."""

from __future__ import annotations

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BaseSettings, Method
from reidtune.tuning.component import Component
from reidtune.tuning.prompt_rows import TowerPrompts


class IvlpSettings(BaseSettings):
    tokens: int = Field(2, gt=0, description="prompt rows of each tower in a prompted block")
    depth: int = Field(12, gt=0, description="blocks with prompts of their own")


class Ivlp(Method):
    name = "ivlp"
    title = "Independent prompts in every block of both towers"
    citation = (
        "Khattak et al., MaPLe: Multi-modal Prompt Learning, CVPR 2023, arXiv 2210.03117 (its independent baseline)"
    )
    tasks = ("text",)
    neutral_start = False
    parameters_vit_b16 = 30_720
    silent = "The paper classifies images by templates; nothing is published for ReID."
    Settings = IvlpSettings
    settings: IvlpSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen = self.settings
        return {
            f"{tower.kind}_prompts": TowerPrompts(tower, chosen.tokens, chosen.depth)
            for tower in (backbone.image, backbone.text)
        }
