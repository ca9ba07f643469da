"""CoOp: learnable words in front of every caption."""

from __future__ import annotations

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BaseSettings, Method
from reidtune.tuning.component import Component
from reidtune.tuning.prompt_rows import TowerPrompts


class CoopSettings(BaseSettings):
    tokens: int = Field(4, gt=0, description="learnable word embeddings after the start token")


class Coop(Method):
    name = "coop"
    title = "Learnable word embeddings in front of every caption; the image tower stays as it is"
    citation = "Zhou et al., Learning to Prompt for Vision-Language Models, IJCV 2022, arXiv 2109.01134"
    tasks = ("text",)
    neutral_start = False
    parameters_vit_b16 = 2_048
    silent = "The paper classifies images by templates; here the rows stand before whole captions, with SDM."
    Settings = CoopSettings
    settings: CoopSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        return {"text_prompts": TowerPrompts(backbone.text, self.settings.tokens, 1)}
