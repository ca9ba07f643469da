"""Prompt Decoupling: prompts alone on a frozen CLIP first, then CLIP with the prompts fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from reidtune.backbone.load import Backbone
from reidtune.methods.base import DIFFERENCE_RANK, BaseSettings, Method, Stage
from reidtune.tuning.component import Component
from reidtune.tuning.difference import Difference
from reidtune.tuning.low_rank import LowRank
from reidtune.tuning.parallel_adapter import ParallelAdapter
from reidtune.tuning.prompt_rows import TowerPrompts

_PROMPTS = ("image_prompts.", "text_prompts.")


class PromptDecouplingSettings(BaseSettings):
    tokens: int = Field(4, gt=0, description="prompt rows of each tower in a prompted block")
    depth: int = Field(12, gt=0, description="blocks with prompts of their own")
    tune: Literal["full", "lora", "adapter"] = Field(
        "full",
        description="what the second stage trains: full, as published, or a small part so that the delta is small",
    )
    prompt_share: float = Field(0.5, gt=0, lt=1, description="share of the epochs that the first stage gets")
    prompt_lr: float = Field(3e-4, gt=0, description="learning rate of the first stage; optimiser.lr is the second's")
    difference_rank: int = Field(0, ge=0, description=DIFFERENCE_RANK)
    rank: int = Field(8, gt=0, description="rank of the differences of q and v with tune lora")
    width: int = Field(64, gt=0, description="bottleneck width with tune adapter")


class PromptDecoupling(Method):
    name = "prompt-decoupling"
    title = "Stage 1 prompts of both towers on a frozen CLIP, stage 2 CLIP with the prompts fixed"
    citation = "Li et al., Prompt Decoupling for Text-to-Image Person Re-identification, 2024, arXiv 2401.02173"
    tasks = ("text",)
    neutral_start = False  # prompts are attended to from the first step
    # both towers with their embeddings at 256×128, and 4 rows in 12 blocks of each
    parameters_vit_b16 = 86_140_416 + 63_428_096 + 12 * 4 * (768 + 512)
    claims: ClassVar[Mapping[str, Any]] = {
        "CUHK-PEDES": {"rank-1": 71.59, "mAP": 65.03, "from": "secondary listings, unconfirmed"}
    }
    silent = (
        "No code is public, nor the method section. Published: prompts alone first on a frozen CLIP, then CLIP with "
        "the prompts fixed. Read into it: independent deep prompts in both towers, 4 rows in 12 blocks, N(0, 0.02), "
        "in the places of IVLP; SDM in both stages; half of the epochs each; learning rates of CSKT and IRRA."
    )
    Settings = PromptDecouplingSettings
    settings: PromptDecouplingSettings

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen = self.settings
        towers = (backbone.image, backbone.text)
        found: dict[str, Component] = {
            f"{tower.kind}_prompts": TowerPrompts(tower, chosen.tokens, chosen.depth) for tower in towers
        }
        for tower in towers:
            if chosen.tune == "full":
                found[f"{tower.kind}_difference"] = Difference(tower, tower.names(), self.settings.difference_rank)
            elif chosen.tune == "lora":
                found[f"{tower.kind}_lora"] = LowRank(tower, ("q", "v"), chosen.rank, float(chosen.rank))
            else:
                found[f"{tower.kind}_adapter"] = ParallelAdapter(tower, chosen.width)
        return found

    def stages(self) -> tuple[Stage, ...]:
        share = self.settings.prompt_share
        return (
            Stage("prompts", share, lambda name: name.startswith(_PROMPTS), optimiser={"lr": self.settings.prompt_lr}),
            Stage("tune", 1 - share, lambda name: not name.startswith(_PROMPTS)),
        )
