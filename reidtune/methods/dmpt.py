"""DMPT: decoupled modality-aware prompts for images of several modalities.

Published (abstract and first page): a frozen pre-trained ViT; modality-specific prompts that use what the text encoder
knows of a modality; modality-independent semantic prompts that read the images; PromptIBind, bind prompts as the medium
between the semantic prompts of the modalities; 6.5 % of the backbone's parameters are trained.

A reading, since neither code nor the method section was at hand:
- the text of a modality ("a near-infrared photo of a person"), pooled to 4 rows after every block of the text encoder;
  without the start token, and scaled to length 1;
- a linear map of each block to the visual width (or one for all), and learnable residuals;
- 8 semantic rows, fresh in every block up to the first bound one, then carried on;
- 4 bind rows after each of the three blocks before the last, and the form of their attention (LayerNorms without
  parameters, the published purpose alone: nothing passes from modality to modality elsewhere);
- the feature: the projected class row of each modality, side by side;
- the contrast of class rows with the texts of all modalities (weight 1, temperature 0.07), identity loss with label
  smoothing (0.25) and soft-margin triplet loss (1), as the public code of related methods (TOP-ReID, DeMo, MambaPro);
- optimiser, schedule and sampler of that code; pixel mean and deviation of the backbone (there 0.5), and rectangles
  erased with the mean colour (there noise).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor

from reidtune.backbone.load import Backbone
from reidtune.data.modality import describe, modality_name
from reidtune.errors import SettingsError, did_you_mean
from reidtune.methods.base import MODALITIES, BaseSettings, Facts, Method
from reidtune.tuning.bind import PromptBind
from reidtune.tuning.component import Component
from reidtune.tuning.decoupled_prompts import ModalityPrompts, SemanticPrompts
from reidtune.tuning.text_prior import text_features, text_prior


class DmptSettings(BaseSettings):
    tokens: int = Field(4, gt=0, description="modality-specific rows of every block")
    prior: bool = Field(True, description="modality-specific rows come from the text encoder; false: learned alone")
    map: Literal["linear_per_layer", "shared"] = Field(
        "linear_per_layer", description="linear map of the text encoder's rows to the image tower: a block, or one"
    )
    semantic: int = Field(8, gt=0, description="semantic rows of every block, the same for all modalities")
    bind: Literal["free", "mha", "mean", "none"] = Field(
        "free", description="how semantic rows meet in the bind rows: free, mha or mean; none: modalities never meet"
    )
    bind_tokens: int = Field(4, gt=0, description="bind rows of a bound block")
    bind_layers: int = Field(
        3, gt=0, description="bound blocks, the last ones but one; semantic rows are carried on from the first of them"
    )
    texts: dict[str, str] = Field(
        default_factory=dict, description="a text for each modality; filled in from its name and data.noun"
    )
    modalities: tuple[str, ...] = Field((), description=MODALITIES)

    @model_validator(mode="after")
    def _known(self) -> DmptSettings:
        if self.modalities and set(self.texts) != set(self.modalities):
            raise ValueError(
                f"texts are of {', '.join(self.texts)}, but the modalities are {', '.join(self.modalities)}"
            )
        return self


class Dmpt(Method):
    name = "dmpt"
    title = "Modality-specific prompts from the text encoder, semantic prompts, bind prompts between modalities"
    citation = (
        "Lin et al., DMPT: Decoupled Modality-aware Prompt Tuning for Multi-modal Object Re-identification, WACV 2025, "
        "pp. 2103-2112, arXiv 2504.10985"
    )
    tasks = ("multimodal",)
    neutral_start = False  # prompts are attended to from the first step
    parameters_vit_b16 = 4_902_912  # three modalities; 5.7 % of the image tower, 6.0 % with a head of 171 identities
    silent = (
        "Every length, depth, form and loss weight: no code is public, and the method section was not at hand; see the "
        "settings for the choices of this reading."
    )
    Settings = DmptSettings
    settings: DmptSettings

    @classmethod
    def complete(cls, settings: Any, facts: Facts) -> Any:
        settings = super().complete(settings, facts)
        given = {modality_name(name): text for name, text in settings.texts.items()}
        for name, text in given.items():
            if name not in facts.modalities:
                raise SettingsError(
                    f"settings.texts names {name}, which the data does not have.{did_you_mean(name, facts.modalities)}",
                    f"Modalities: {', '.join(facts.modalities)}.",
                )
            if not text.strip():
                raise SettingsError(f"settings.texts.{name} is empty.", f'Say it like "{describe(name, facts.noun)}".')
        texts = {name: given.get(name) or describe(name, facts.noun) for name in facts.modalities}
        return settings.model_copy(update={"modalities": facts.modalities, "texts": texts})

    def components(self, backbone: Backbone) -> dict[str, Component]:
        chosen, tower = self.settings, backbone.image
        last = tower.layers - 1
        bound = range(max(0, last - chosen.bind_layers), last)
        prior = None
        texts = [chosen.texts[name] for name in chosen.modalities]
        if chosen.prior:
            prior = text_prior(backbone, texts, chosen.tokens, tower.layers)
        found: dict[str, Component] = {
            "modality": ModalityPrompts(tower, len(texts), chosen.tokens, prior, chosen.map == "shared"),
            "semantic": SemanticPrompts(tower, chosen.semantic, bound.start + 1),
        }
        if chosen.bind != "none":
            found["bind"] = PromptBind(tower, chosen.semantic, chosen.bind_tokens, bound, chosen.bind)
        return found

    def modality_texts(self, backbone: Backbone) -> Tensor:
        return text_features(backbone, [self.settings.texts[name] for name in self.settings.modalities])
