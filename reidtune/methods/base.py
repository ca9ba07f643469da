"""What a method is: a named assembly of components, losses and stages, after one paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from reidtune.backbone.load import Backbone
from reidtune.config import LossSection
from reidtune.data.batch import Batch
from reidtune.data.record import Dataset
from reidtune.losses.objective import STATISTICS, IdentityObjective
from reidtune.model import Model, image_walk
from reidtune.seeds import derive_seed, seeded
from reidtune.tuning.component import Component
from reidtune.tuning.tuner import Tuner


class BaseSettings(BaseModel):
    """Base of a method's own settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Stage:
    """A part of training. ``share`` of the epochs goes to it; ``trains`` says which tuner tensors learn in it, and
    ``heads`` whether the objective's own tensors do. ``optimiser`` replaces settings of the recipe's [optimiser]."""

    name: str
    share: float = 1.0
    trains: Callable[[str], bool] = lambda name: True
    heads: bool = True
    optimiser: Mapping[str, Any] = field(default_factory=dict)


class Method(ABC):
    """One method. A subclass is a page: settings, components, stages, citation, and where the record is silent.

    ``claims`` holds the numbers its paper reports, as printed there; ``parameters_vit_b16`` the count of trainable
    parameters on ViT-B/16 with default settings (256×128 pixels), which a test checks.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]] = ("image",)
    neutral_start: ClassVar[bool] = True  # at the start the features are the backbone's
    parameters_vit_b16: ClassVar[int]
    claims: ClassVar[Mapping[str, Any]] = {}
    silent: ClassVar[str] = ""
    Settings: ClassVar[type[BaseSettings]] = BaseSettings

    def __init__(self, settings: BaseSettings) -> None:
        self.settings: Any = settings

    @abstractmethod
    def components(self, backbone: Backbone) -> dict[str, Component]:
        """The components on this backbone, by name; tensors of a delta are ``<name>.<tensor>``."""

    @classmethod
    def complete(cls, settings: Any, dataset: Dataset, noun: str) -> Any:
        """The settings with what they need to know of the data (numbers of cameras or identities, modalities, the
        noun of a template) filled in; they travel in the delta, which then loads without the data."""
        return settings

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("tune"),)

    def encode(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """What the objective needs of a training batch, by name: ``image`` [B, D], what components left as outputs,
        and their statistics as ``statistics/…``. Tensors [B, ...] may be gathered from parts of a batch by joining,
        statistics by adding."""
        walk = image_walk(batch.to(model.backbone.device))
        features = model.encode_images(batch.images, walk)
        return {
            "image": features,
            **walk.outputs,
            **{f"{STATISTICS}{name}": value for name, value in walk.statistics.items()},
        }

    def objective(self, tuner: Tuner, backbone: Backbone, classes: int, config: LossSection) -> nn.Module:
        """A module with ``forward(outputs, labels) -> (loss, parts)`` on the outputs of a whole batch; its own tensors
        (neck, classifier) are trained and never in the delta."""
        return IdentityObjective(tuner.feature_width(backbone.image), classes, config)

    def tuner(self, backbone: Backbone, seed: int = 0) -> Tuner:
        """A fresh tuner whose initial values depend on ``seed`` alone; the caller's random state is kept."""
        with seeded(derive_seed("tuner", seed)):
            return Tuner(self.components(backbone)).to(backbone.device)
