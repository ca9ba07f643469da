"""MambaPro's prompts and adapters: prompt rows of all modalities in each one's sequence, wide adapters beside the MLP.

Published, in the paper and in its public code: the form of both parts, 4 prompt rows a modality, the frozen backbone,
losses and optimiser. Not here, so that it stands beside the other methods on equal terms: the Mamba aggregation over
the tokens of all modalities, and the camera embedding (SIE) of the class row. A feature is the projected class row of
each modality, side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from reidtune.backbone.load import Backbone
from reidtune.methods.base import MODALITIES, BaseSettings, Facts, Method
from reidtune.tuning.component import Component
from reidtune.tuning.feed_forward_adapter import FeedForwardAdapter
from reidtune.tuning.synergistic_prompts import SynergisticPrompts


class MambaProSettings(BaseSettings):
    tokens: int = Field(4, gt=0, description="prompt rows of a modality in every block")
    start: Literal["zeros", "normal"] = Field(
        "zeros", description="of prompts: zeros, as published (the rows of a modality stay equal), or N(0, 0.02)"
    )
    prompts: bool = Field(True, description="synergistic residual prompts")
    adapters: bool = Field(True, description="feed-forward adapters beside the MLPs")
    modalities: tuple[str, ...] = Field((), description=MODALITIES)

    @model_validator(mode="after")
    def _something(self) -> MambaProSettings:
        if not (self.prompts or self.adapters):
            raise ValueError("prompts and adapters are both false, so there is nothing to train")
        return self


class MambaPro(Method):
    name = "mambapro"
    title = "Prompts of each modality that the others see too, and feed-forward adapters; without the Mamba aggregation"
    citation = (
        "Wang et al., MambaPro: Multi-Modal Object Re-Identification with Mamba Aggregation and Synergistic Prompt, "
        "AAAI 2025, arXiv 2412.10707"
    )
    tasks = ("multimodal",)
    neutral_start = False  # neither part adds nothing at first
    parameters_vit_b16 = 56_225_664  # three modalities
    claims: ClassVar[Mapping[str, Any]] = {
        "RGBNT201": {
            "mAP": 74.4,
            "rank-1": 77.6,
            "from": "the paper's ablation of prompts and adapters; with the Mamba aggregation 78.9 and 83.4",
        },
    }
    silent = (
        "Left out here: the Mamba aggregation and the camera embedding. The public code also holds a transfer "
        "perceptron in the first block, which nothing uses (590,976 parameters on ViT-B/16); it is not here. Other "
        "numbers of modalities than three are ours. The public code selects the best epoch on the test split; here a "
        "validation set does."
    )
    Settings = MambaProSettings
    settings: MambaProSettings

    @classmethod
    def complete(cls, settings: Any, facts: Facts) -> Any:
        return super().complete(settings, facts).model_copy(update={"modalities": facts.modalities})

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen, tower = self.settings, backbone.image
        found: dict[str, Component] = {}
        if chosen.prompts:
            found["prompts"] = SynergisticPrompts(tower, len(chosen.modalities), chosen.tokens, chosen.start)
        if chosen.adapters:
            found["adapter"] = FeedForwardAdapter(tower)
        return found
