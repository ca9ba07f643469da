"""CLIP-ReID: a sentence with learned words for every identity first, then the image tower against those sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from reidtune.backbone.load import Backbone
from reidtune.backbone.walk import Walk
from reidtune.config import LossSection
from reidtune.data.batch import Batch
from reidtune.data.record import Record
from reidtune.errors import SettingsError
from reidtune.losses.clip_reid import TEXTS, ClipReidObjective
from reidtune.methods.base import DIFFERENCE_RANK, BaseSettings, Facts, Method, Stage, check_losses
from reidtune.model import Model, image_walk
from reidtune.tuning.class_feature import BEFORE_LAST, ClassFeature
from reidtune.tuning.component import Component
from reidtune.tuning.difference import Difference
from reidtune.tuning.identity_prompts import IdentityPrompts
from reidtune.tuning.low_rank import LowRank
from reidtune.tuning.parallel_adapter import ParallelAdapter
from reidtune.tuning.prompts import VisualPrompts
from reidtune.tuning.tuner import Tuner

_SENTENCE = "A photo of a {words} {noun}."
_FIRST = 5  # start token and "a photo of a" stand before the learned words
_CHUNK = 64


class ClipReidSettings(BaseSettings):
    tune: Literal["full", "lora", "adapter", "vpt"] = Field(
        "full", description="what the second stage trains of the image tower: full, as published, or a small part"
    )
    tokens: int = Field(4, gt=0, description="learned words of an identity")
    noun: str = Field("auto", min_length=1, description="what the sentence names; auto: data.noun")
    identities: int = Field(0, ge=0, description="training identities; filled in from the data")
    prompt_share: float = Field(2 / 3, gt=0, lt=1, description="share of the epochs that the first stage gets")
    prompt_lr: float = Field(3.5e-4, gt=0, description="learning rate of the first stage; optimiser.lr is the second's")
    prompt_warmup: float = Field(5.0, ge=0, description="epochs of linear warm-up of the first stage")
    matching: float = Field(1.0, ge=0, description="weight of matching images with the identities' sentences")
    difference_rank: int = Field(0, ge=0, description=DIFFERENCE_RANK)
    rank: int = Field(8, gt=0, description="rank of the differences of q and v with tune lora")
    width: int = Field(64, gt=0, description="bottleneck width with tune adapter")
    prompts: int = Field(10, gt=0, description="prompt rows of a block with tune vpt")


class ClipReid(Method):
    name = "clip-reid"
    title = "Stage 1 learned words for every identity, stage 2 the image tower against the identities' sentences"
    citation = (
        "Li et al., CLIP-ReID: Exploiting Vision-Language Model for Image Re-Identification without Concrete Text "
        "Labels, AAAI 2023, arXiv 2211.13977"
    )
    tasks = ("image",)
    neutral_start = False  # its feature is the class row beside its projection
    parameters_vit_b16 = 86_140_416  # and tokens × 512 for each training identity, which no delta holds
    silent = (
        "The public code cuts the second stage's rate at epochs 30 and 50; here it follows a cosine. The first stage "
        "has two thirds of the epochs (published: 120 and 60; vehicles 60 and 60). Pixel mean and deviation are "
        "the backbone's (published: 0.5), and erased rectangles are filled with the mean colour (published: noise)."
    )
    Settings = ClipReidSettings
    settings: ClipReidSettings

    def __init__(self, settings: BaseSettings) -> None:
        super().__init__(settings)
        self._texts: Tensor | None = None  # [C, D], features of the identities' sentences, of stage 2

    @classmethod
    def complete(cls, settings: Any, facts: Facts) -> Any:
        noun = facts.noun if settings.noun == "auto" else settings.noun
        return settings.model_copy(update={"identities": facts.identities, "noun": noun})

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen, tower = self.settings, backbone.image
        backbone.text.require_clip_words("clip-reid")
        feature = ClassFeature(tower)  # says first where this backbone has none
        length = int(backbone.tokenizer([self.sentence()]).argmax(dim=-1))
        if length != int(backbone.tokenizer([self.sentence() + " X"]).argmax(dim=-1)) - 1:
            raise SettingsError(
                f"A sentence with {chosen.tokens} learned words does not fit the text tower.", "Lower settings.tokens."
            )
        tuned: dict[str, Component]
        if chosen.tune == "full":
            tuned = {"difference": Difference(tower, tower.names(), self.settings.difference_rank)}
        elif chosen.tune == "lora":
            tuned = {"lora": LowRank(tower, ("q", "v"), chosen.rank, float(chosen.rank))}
        elif chosen.tune == "adapter":
            tuned = {"adapter": ParallelAdapter(tower, chosen.width)}
        else:
            tuned = {"visual_prompts": VisualPrompts(tower, chosen.prompts, deep=True)}
        words = IdentityPrompts(backbone.text, chosen.identities, chosen.tokens, _FIRST)
        return {**tuned, "feature": feature, "words": words}

    def stages(self) -> tuple[Stage, ...]:
        chosen = self.settings
        return (
            Stage(
                "prompts",
                chosen.prompt_share,
                lambda name: name.startswith("words."),
                heads=False,
                optimiser={
                    "lr": chosen.prompt_lr,
                    "warmup_epochs": chosen.prompt_warmup,
                    "warmup_factor": 1 / 35,
                    "final_lr_factor": 1 / 350,
                },
                sampler="shuffle",
                images=False,
                features=True,
                validate=False,
            ),
            Stage("tune", 1 - chosen.prompt_share, lambda name: not name.startswith("words.")),
        )

    def begin(self, stage: Stage, model: Model, records: Sequence[Record]) -> None:
        device = model.backbone.device
        if stage.name == "prompts":
            return
        everyone = torch.arange(self.settings.identities, device=device)
        self._texts = torch.cat(
            [self._sentences(model, some).float() for some in torch.split(everyone, _CHUNK)]
        ).detach()

    def encode(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        batch = batch.to(model.backbone.device)
        assert batch.labels is not None
        if batch.images is None:
            assert batch.frozen is not None
            return {"cached": batch.frozen, "text": self._sentences(model, batch.labels)}
        assert self._texts is not None
        walk = image_walk(batch)
        features = model.encode_images(batch.images, walk)
        return {"image": features, "row": walk.outputs[BEFORE_LAST], TEXTS: self._texts}

    def objective(
        self,
        tuner: Tuner,
        backbone: Backbone,
        classes: int,
        config: LossSection,
        task: str = "image",
        modalities: Sequence[str] = (),
    ) -> nn.Module:
        check_losses(config, task)
        if not (config.identity or config.triplet or (config.metric and config.metric_weight)):
            raise SettingsError(
                "The second stage needs loss.identity or loss.triplet.", "Published: identity 0.25, triplet 1."
            )
        tower = backbone.image
        return ClipReidObjective(tower.width, tower.output_width, classes, config, self.settings.matching)

    def sentence(self) -> str:
        """The sentence of every identity, with placeholders where the learned words stand."""
        return _SENTENCE.format(words=" ".join("X" * self.settings.tokens), noun=self.settings.noun)

    def _sentences(self, model: Model, labels: Tensor) -> Tensor:
        """Features [B, D] of the sentences of these identities."""
        ids = model.backbone.tokenizer([self.sentence()]).expand(len(labels), -1)
        return model.encode_texts(ids, Walk(labels=labels))
