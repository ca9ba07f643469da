"""DM-Adapter: a sparse mixture of adapters beside the MLP of both towers, with a domain-aware router."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from reidtune.backbone.load import Backbone
from reidtune.methods.base import BaseSettings, Method
from reidtune.tuning.component import Component
from reidtune.tuning.mixture import AdapterMixture


class DmAdapterSettings(BaseSettings):
    experts: int = Field(6, gt=0, description="adapters E of each block")
    active: int = Field(2, gt=0, description="adapters k that a token is sent to")
    reduction: int = Field(8, gt=0, description="the bottleneck is the width divided by this")
    image_scale: float = Field(0.1, description="fixed factor on the mixture in the image tower")
    text_scale: float = Field(4.0, description="fixed factor on the mixture in the text tower")

    @model_validator(mode="after")
    def _fewer_active(self) -> DmAdapterSettings:
        if self.active > self.experts:
            raise ValueError(f"active {self.active} is more than the {self.experts} experts")
        return self


class DmAdapter(Method):
    name = "dm-adapter"
    title = "Sparse mixture of adapters beside the MLP in both towers, domain-aware router"
    citation = (
        "Liu et al., DM-Adapter: Domain-Aware Mixture-of-Adapters for Text-Based Person Retrieval, AAAI 2025, "
        "arXiv 2503.04144"
    )
    tasks = ("text",)
    parameters_vit_b16 = 15_669_528
    claims: ClassVar[Mapping[str, Any]] = {
        "CUHK-PEDES": {"rank-1": 72.17, "mAP": 64.33},
        "ICFG-PEDES": {"rank-1": 62.64, "mAP": 36.50},
        "RSTPReid": {"rank-1": 60.00, "mAP": 47.37},
    }
    silent = (
        "Settings other than CUHK-PEDES's. The public code selects the best epoch on the test split, trains with fp16 "
        "weights and steps the learning rate once an epoch; here a validation set selects, weights are fp32, and the "
        "rate changes every step."
    )
    Settings = DmAdapterSettings
    settings: DmAdapterSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen = self.settings
        return {
            f"{tower.kind}_mixture": AdapterMixture(tower, chosen.experts, chosen.active, chosen.reduction, scale)
            for tower, scale in ((backbone.image, chosen.image_scale), (backbone.text, chosen.text_scale))
        }
