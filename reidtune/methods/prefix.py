"""Prefix tuning: extra keys and values in every block."""

from __future__ import annotations

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BLOCKS, BaseSettings, Method
from reidtune.tuning.blocks import last_blocks
from reidtune.tuning.component import Component
from reidtune.tuning.prefix import Prefix as PrefixRows


class PrefixSettings(BaseSettings):
    rows: int = Field(10, gt=0, description="key and value rows of every block")
    blocks: int = Field(0, ge=0, description=BLOCKS)


class Prefix(Method):
    name = "prefix"
    title = "Learnable key and value rows in every block"
    citation = "Li and Liang, Prefix-Tuning: Optimizing Continuous Prompts for Generation, ACL 2021, arXiv 2101.00190"
    neutral_start = False  # the rows are attended to from the first step
    parameters_vit_b16 = 184_320
    silent = (
        "The paper tunes language models, through a perceptron that is dropped after training; here the rows learn "
        "directly."
    )
    Settings = PrefixSettings
    settings: PrefixSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        tower = backbone.image
        first = last_blocks(tower, self.settings.blocks).start
        return {"prefix": PrefixRows(tower, self.settings.rows, first=first)}
