"""What a method is: a named assembly of components, losses and stages, after one paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from reidtune.backbone.load import Backbone
from reidtune.backbone.tower import Tower
from reidtune.config import LossSection
from reidtune.data.batch import Batch
from reidtune.data.record import Record
from reidtune.errors import SettingsError
from reidtune.losses.objective import STATISTICS, IdentityObjective
from reidtune.losses.text_objective import TextObjective
from reidtune.model import Model, image_walk, text_walk
from reidtune.seeds import derive_seed, seeded
from reidtune.tuning.component import Component
from reidtune.tuning.tuner import Tuner

Towers = Literal["auto", "image", "text", "both"]
DIFFERENCE_RANK = "rank of the difference of every matrix; 0: the whole difference (see export --to low-rank)"
TOWERS = "towers that are tuned: image, text or both; auto: image for image data, both for text data"


class BaseSettings(BaseModel):
    """Base of a method's own settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Facts:
    """What a method may know of the training data: the ``task``, the ``noun`` of what is shown, and how many
    ``identities`` and ``cameras`` there are to train on, and the ``modalities`` of multi-modal data."""

    task: str
    noun: str
    identities: int
    cameras: int
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A part of training. ``share`` of the epochs goes to it; ``trains`` says which tuner tensors learn in it, and
    ``heads`` whether the objective's own tensors do. ``optimiser`` replaces settings of the recipe's [optimiser], and
    ``sampler`` that of its [training]. A stage that does not read ``images`` gets batches without them (the method
    looks up what it computed in ``begin``), and one that does not ``validate`` leaves the features as they are."""

    name: str
    share: float = 1.0
    trains: Callable[[str], bool] = lambda name: True
    heads: bool = True
    optimiser: Mapping[str, Any] = field(default_factory=dict)
    sampler: str | None = None
    images: bool = True
    validate: bool = True


def check_losses(config: LossSection, task: str) -> None:
    """Raise ``SettingsError`` where a loss of the other task has a weight, or no matching loss of text data has one."""
    foreign = {"text": ("triplet",)}.get(task, ("sdm", "itc", "cmpm"))
    if wrong := [f"loss.{name}" for name in foreign if getattr(config, name)]:
        raise SettingsError(
            f"{', '.join(wrong)} is not computed on {task} data, but has a weight.",
            f"Set it to 0, or take a recipe for {task} data: reidtune recipes",
        )
    if task == "text" and not (config.sdm or config.itc or config.cmpm):
        raise SettingsError("No loss that matches texts has a weight.", "Set loss.sdm, loss.itc or loss.cmpm.")


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
    def complete(cls, settings: Any, facts: Facts) -> Any:
        """The settings with what they need to know of the data filled in; they travel in the delta, which then loads
        without the data. Here: ``towers`` where the method has that setting and it says ``auto``."""
        if getattr(settings, "towers", None) != "auto":
            return settings
        return settings.model_copy(update={"towers": "both" if facts.task == "text" else "image"})

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("tune"),)

    def towers(self, backbone: Backbone) -> dict[str, Tower]:
        """The towers that ``settings.towers`` names, by the prefix that their components' names get: none for the image
        tower, ``text_`` for the text tower."""
        chosen = self.settings.towers
        found: dict[str, Tower] = {}
        if chosen != "text":
            found[""] = backbone.image
        if chosen in ("text", "both"):
            found["text_"] = backbone.text
        return found

    def begin(self, stage: Stage, model: Model, records: Sequence[Record]) -> None:
        """Called when a stage begins, also after a resume: the place to compute what stays fixed through it."""
        return

    def encode(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """What the objective needs of a training batch, by name: ``image`` and, of a batch with captions, ``text``
        [B, D], what components left as outputs, and their statistics as ``statistics/…``. Tensors [B, ...] may be
        gathered from parts of a batch by joining, statistics by adding."""
        batch = batch.to(model.backbone.device)
        outputs: dict[str, Tensor] = {}
        walks = []
        if batch.images is not None:
            walks.append(image_walk(batch))
            outputs["image"] = model.encode_images(batch.images, walks[-1])
        if batch.texts is not None:
            walks.append(text_walk(batch))
            outputs["text"] = model.encode_texts(batch.texts, walks[-1])
        for walk in walks:
            outputs |= walk.outputs
            outputs |= {f"{STATISTICS}{name}": value for name, value in walk.statistics.items()}
        return outputs

    def objective(
        self, tuner: Tuner, backbone: Backbone, classes: int, config: LossSection, task: str = "image"
    ) -> nn.Module:
        """A module with ``forward(outputs, labels) -> (loss, parts)`` on the outputs of a whole batch; its own tensors
        (neck, classifier) are trained and never in the delta.

        Raises:
            SettingsError: the losses with a weight are not those of ``task``.
        """
        check_losses(config, task)
        if task == "text":
            width = {tower.kind: tuner.feature_width(tower) for tower in (backbone.image, backbone.text)}
            if width["image"] != width["text"]:
                raise SettingsError(
                    f"The method {self.name} gives images {width['image']} features and texts {width['text']}.",
                    "Choose another method for text data.",
                )
            return TextObjective(width["image"], classes, config, tuner.auxiliary)
        return IdentityObjective(tuner.feature_width(backbone.image), classes, config)

    def tuner(self, backbone: Backbone, seed: int = 0) -> Tuner:
        """A fresh tuner whose initial values depend on ``seed`` alone; the caller's random state is kept."""
        with seeded(derive_seed("tuner", seed)):
            return Tuner(self.components(backbone)).to(backbone.device)
