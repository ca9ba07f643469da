"""Adapters parallel to the MLP, as AdaptFormer, or in sequence with attention and MLP, as Houlsby et al."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BLOCKS, MODALITIES, PER_MODALITY, TOWERS, BaseSettings, Method, Towers, each_or_shared
from reidtune.tuning.blocks import last_blocks
from reidtune.tuning.component import Component
from reidtune.tuning.parallel_adapter import ParallelAdapter
from reidtune.tuning.sequential_adapter import SequentialAdapter


class AdapterSettings(BaseSettings):
    placement: Literal["parallel", "sequential"] = Field(
        "parallel", description="beside the MLP (AdaptFormer), or after attention and after the MLP (Houlsby et al.)"
    )
    width: int = Field(64, gt=0, description="bottleneck width")
    scale: float = Field(0.1, description="fixed factor on the adapter's output")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the bottleneck")
    blocks: int = Field(0, ge=0, description=BLOCKS)
    towers: Towers = Field("auto", description=TOWERS)
    per_modality: bool = Field(False, description=PER_MODALITY)
    modalities: tuple[str, ...] = Field((), description=MODALITIES)


class Adapter(Method):
    name = "adapter"
    title = "Bottleneck adapters parallel to the MLP of every block, or after attention and MLP"
    citation = (
        "Chen et al., AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition, NeurIPS 2022; "
        "sequential: Houlsby et al., Parameter-Efficient Transfer Learning for NLP, ICML 2019, arXiv 1902.00751"
    )
    tasks = ("image", "text", "multimodal")
    parameters_vit_b16 = 1_189_632
    silent = "The paper tunes for classification and video; nothing is published for ReID."
    Settings = AdapterSettings
    settings: AdapterSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen = self.settings
        kind = ParallelAdapter if chosen.placement == "parallel" else SequentialAdapter
        return {
            f"{prefix}adapter": each_or_shared(
                partial(
                    kind,
                    tower,
                    chosen.width,
                    chosen.scale,
                    chosen.dropout,
                    first=last_blocks(tower, chosen.blocks).start,
                ),
                chosen.modalities if tower.kind == "image" else (),
            )
            for prefix, tower in self.towers(backbone).items()
        }
