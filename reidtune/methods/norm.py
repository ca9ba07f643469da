"""Norm tuning: nothing but weights and biases of the LayerNorms learns."""

from __future__ import annotations

import re

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import TOWERS, BaseSettings, Method, Towers
from reidtune.tuning.component import Component
from reidtune.tuning.difference import Difference

_NORM = re.compile(r"(^|\.)ln_\w+\.(weight|bias)$")


class NormSettings(BaseSettings):
    towers: Towers = Field("auto", description=TOWERS)


class Norm(Method):
    name = "norm"
    title = "Weights and biases of every LayerNorm; merges into the backbone"
    citation = (
        "Basu et al., Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning, AAAI 2024, arXiv 2304.01917 "
        "(LN-Tune)"
    )
    tasks = ("image", "text", "multimodal")
    parameters_vit_b16 = 39_936
    silent = "The paper tunes for few-shot classification; nothing is published for ReID."
    Settings = NormSettings
    settings: NormSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        return {
            f"{prefix}difference": Difference(tower, [name for name in tower.names() if _NORM.search(name)])
            for prefix, tower in self.towers(backbone).items()
        }
