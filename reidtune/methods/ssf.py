"""SSF: a scale and a shift of every channel after every operation of the image tower."""

from __future__ import annotations

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BLOCKS, BaseSettings, Method
from reidtune.tuning.blocks import last_blocks
from reidtune.tuning.component import Component
from reidtune.tuning.scale_shift import ScaleShift


class SsfSettings(BaseSettings):
    blocks: int = Field(0, ge=0, description=BLOCKS)


class Ssf(Method):
    name = "ssf"
    title = "Scales and shifts of features after every operation; merges into the backbone"
    citation = (
        "Lian et al., Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning, NeurIPS 2022, "
        "arXiv 2210.08823"
    )
    neutral_start = False  # scales start at N(1, 0.02), shifts at N(0, 0.02)
    parameters_vit_b16 = 205_824
    silent = "The paper tunes for classification; nothing is published for ReID. CLIP's ln_pre gets none."
    Settings = SsfSettings
    settings: SsfSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        tower = backbone.image
        return {"ssf": ScaleShift(tower, last_blocks(tower, self.settings.blocks).start)}
