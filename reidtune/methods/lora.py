"""LoRA: low-rank differences of chosen linear maps."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field, field_validator

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BLOCKS, MODALITIES, PER_MODALITY, TOWERS, BaseSettings, Method, Towers, each_or_shared
from reidtune.tuning.blocks import last_blocks
from reidtune.tuning.component import Component
from reidtune.tuning.low_rank import LowRank


class LoraSettings(BaseSettings):
    rank: int = Field(8, gt=0, description="rank r of each difference")
    alpha: float = Field(8.0, gt=0, description="the difference is scaled by alpha / rank")
    targets: tuple[Literal["q", "k", "v", "out", "fc1", "fc2"], ...] = Field(
        ("q", "v"), min_length=1, description="linear maps that get a difference"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the input of the difference")
    blocks: int = Field(0, ge=0, description=BLOCKS)
    towers: Towers = Field("auto", description=TOWERS)
    per_modality: bool = Field(False, description=PER_MODALITY)
    modalities: tuple[str, ...] = Field((), description=MODALITIES)

    @field_validator("targets")
    @classmethod
    def _unique(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a linear map twice")
        return value


class Lora(Method):
    name = "lora"
    title = "Low-rank differences of attention (and MLP) weights; merges into the backbone"
    citation = "Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv 2106.09685"
    tasks = ("image", "text", "multimodal")
    parameters_vit_b16 = 294_912
    silent = "The paper adapts language models; q and v are its main choice. Nothing is published for ReID."
    Settings = LoraSettings
    settings: LoraSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen = self.settings
        return {
            f"{prefix}lora": each_or_shared(
                partial(
                    LowRank,
                    tower,
                    chosen.targets,
                    chosen.rank,
                    chosen.alpha,
                    chosen.dropout,
                    first=last_blocks(tower, chosen.blocks).start,
                ),
                chosen.modalities if tower.kind == "image" else (),
            )
            for prefix, tower in self.towers(backbone).items()
        }
