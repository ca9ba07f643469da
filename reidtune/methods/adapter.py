"""Adapters parallel to the MLP, as AdaptFormer."""

from __future__ import annotations

from functools import partial

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import MODALITIES, PER_MODALITY, TOWERS, BaseSettings, Method, Towers, each_or_shared
from reidtune.tuning.component import Component
from reidtune.tuning.parallel_adapter import ParallelAdapter


class AdapterSettings(BaseSettings):
    width: int = Field(64, gt=0, description="bottleneck width")
    scale: float = Field(0.1, description="fixed factor on the adapter's output")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the bottleneck")
    towers: Towers = Field("auto", description=TOWERS)
    per_modality: bool = Field(False, description=PER_MODALITY)
    modalities: tuple[str, ...] = Field((), description=MODALITIES)


class Adapter(Method):
    name = "adapter"
    title = "Bottleneck adapters parallel to the MLP of every block"
    citation = "Chen et al., AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition, NeurIPS 2022"
    tasks = ("image", "text", "multimodal")
    parameters_vit_b16 = 1_189_632
    silent = "The paper tunes for classification and video; nothing is published for ReID."
    Settings = AdapterSettings
    settings: AdapterSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen = self.settings
        return {
            f"{prefix}adapter": each_or_shared(
                partial(ParallelAdapter, tower, chosen.width, chosen.scale, chosen.dropout),
                chosen.modalities if tower.kind == "image" else (),
            )
            for prefix, tower in self.towers(backbone).items()
        }
