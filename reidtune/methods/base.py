"""What a method is: a named assembly of components, losses and stages, after one paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from torch import Tensor, nn

from reidtune.backbone.load import Backbone
from reidtune.backbone.tower import Tower
from reidtune.cameras import Cameras
from reidtune.config import LossSection
from reidtune.data.batch import Batch
from reidtune.data.record import Record
from reidtune.errors import SettingsError
from reidtune.fusion import modality_walk, present_of
from reidtune.losses.multimodal_objective import MultimodalObjective
from reidtune.losses.objective import STATISTICS, IdentityObjective
from reidtune.losses.text_objective import TextObjective
from reidtune.model import Model, image_walk, text_walk
from reidtune.seeds import derive_seed, seeded
from reidtune.tuning.by_modality import ByModality
from reidtune.tuning.camera_embedding import CameraEmbedding
from reidtune.tuning.component import Component
from reidtune.tuning.tuner import Tuner

Towers = Literal["auto", "image", "text", "both"]
DIFFERENCE_RANK = "rank of the difference of every matrix; 0: the whole difference (see export --to low-rank)"
PER_MODALITY = "an own one for each modality of multi-modal data, instead of one that all share"
EVERYTHING = "everything"  # context of a dump that leaves no default out
_CAMERAS = ("camera_embedding", "camera_scale", "camera_rows", "cameras")
BLOCKS = "only the last so many blocks of a tower, and what comes behind them; 0: all"
MODALITIES = "modalities with parts of their own; filled in from the data"
TOWERS = "towers that are tuned: image, text or both; auto: image for image data, both for text data"


class BaseSettings(BaseModel):
    """Base of a method's own settings; unknown keys are refused.

    What it has itself is the embedding of cameras that any method for images can be trained with. Without one, it is
    neither in recipes nor in deltas. ``blocks``, where a method has it, is in a delta only where it is not 0, so that
    deltas of all blocks stay as they were before there was a choice; dumped with :data:`EVERYTHING` it is always there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    camera_embedding: Literal["none", "camera", "scene"] = Field(
        "none", description="a learned vector for each camera (or scene), which binds the delta to these (SIE)"
    )
    camera_scale: float = Field(
        3.0, gt=0, allow_inf_nan=False, description="its factor; 3 in TransReID, 1 in CLIP-ReID's family"
    )
    camera_rows: Literal["all", "class"] = Field(
        "all", description="rows that get it: all, as in TransReID, or the class row, as in CLIP-ReID's family"
    )
    cameras: tuple[int, ...] = Field((), description="cameras with a vector; filled in from the data")

    @model_validator(mode="after")
    def _cameras(self) -> Self:
        given = [name for name in _CAMERAS[1:] if name in self.model_fields_set]
        if self.camera_embedding == "none" and given:
            raise ValueError(f"{', '.join(given)} is set, but camera_embedding is none")
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError("cameras names one twice")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        unused: tuple[str, ...] = _CAMERAS if self.camera_embedding == "none" else ()
        if not values.get("blocks") and info.context != EVERYTHING:
            unused += ("blocks",)
        return {name: value for name, value in values.items() if name not in unused}


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
    ``sampler`` that of its [training]. A stage that does not read ``images`` gets batches without them; one that reads
    ``features`` gets the backbone's own features [B, D] of the images in their place, not augmented
    (``batch.frozen``). A stage that does not ``validate`` leaves the features as they are."""

    name: str
    share: float = 1.0
    trains: Callable[[str], bool] = lambda name: True
    heads: bool = True
    optimiser: Mapping[str, Any] = field(default_factory=dict)
    sampler: str | None = None
    images: bool = True
    features: bool = False
    validate: bool = True


def each_or_shared(make: Callable[[], Component], modalities: Sequence[str]) -> Component:
    """One component for all images, or one for each of ``modalities``."""
    return ByModality([make() for _ in modalities]) if modalities else make()


def check_losses(config: LossSection, task: str) -> None:
    """Raise ``SettingsError`` where a loss of another task has a weight, or no matching loss of text data has one."""
    matching = ("sdm", "itc", "cmpm")
    foreign = {"text": ("triplet", "modality"), "multimodal": matching}.get(task, (*matching, "modality"))
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
        without the data. Here: ``towers`` where the method has that setting and it says ``auto``, and ``modalities``
        of a method that has parts for each.

        Raises:
            SettingsError: towers that the data cannot teach, or modalities that it does not have.
        """
        found: dict[str, Any] = {}
        towers = getattr(settings, "towers", None)
        if towers == "auto":
            found["towers"] = "both" if facts.task == "text" else "image"
        elif towers in ("text", "both") and facts.task != "text":
            raise SettingsError(
                f"settings.towers is {towers}, but {facts.task} data teaches the text tower nothing.",
                "Set it to image, or leave it out.",
            )
        given = tuple(getattr(settings, "modalities", ()))
        if given and given != facts.modalities:
            raise SettingsError(
                f"settings.modalities is {', '.join(given)}, but the data has {', '.join(facts.modalities) or 'none'}.",
                "Leave it out: it is filled in from the data.",
            )
        if given and not getattr(settings, "per_modality", True):
            found["modalities"] = ()
        if getattr(settings, "per_modality", False):
            if not facts.modalities:
                raise SettingsError(
                    f"settings.per_modality needs multi-modal data, but this is {facts.task} data.",
                    "Set settings.per_modality to false.",
                )
            found["modalities"] = facts.modalities
        return settings.model_copy(update=found) if found else settings

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
        [B, D]; of a batch of M modalities ``image`` [B, M, D] and ``present`` [B, M] bool; what components left as
        outputs, and their statistics as ``statistics/…``. Tensors [B, ...] may be gathered from parts of a batch by
        joining, statistics by adding."""
        batch = batch.to(model.backbone.device)
        outputs: dict[str, Tensor] = {}
        walks = []
        if batch.inputs is not None:
            if model.has_samples(batch):
                images, walk = modality_walk(batch)
                outputs["image"] = model.encode_modalities(batch, walk, images)
                outputs["present"] = present_of(batch)
            else:
                walk = image_walk(batch)
                outputs["image"] = model.encode_inputs(batch, walk)
            walks.append(walk)
        if batch.texts is not None:
            walks.append(text_walk(batch))
            outputs["text"] = model.encode_texts(batch.texts, walks[-1])
        for walk in walks:
            outputs |= walk.outputs
            outputs |= {f"{STATISTICS}{name}": value for name, value in walk.statistics.items()}
        return outputs

    def objective(
        self,
        tuner: Tuner,
        backbone: Backbone,
        classes: int,
        config: LossSection,
        task: str = "image",
        modalities: Sequence[str] = (),
    ) -> nn.Module:
        """A module with ``forward(outputs, labels) -> (loss, parts)`` on the outputs of a whole batch; its own tensors
        (neck, classifier) are trained and never in the delta. ``modalities`` are those of multi-modal data.

        Raises:
            SettingsError: the losses with a weight are not those of ``task``.
        """
        check_losses(config, task)
        if task == "multimodal":
            texts = self.modality_texts(backbone) if config.modality else None
            if config.modality and texts is None:
                raise SettingsError(
                    f"loss.modality is {config.modality:g}, but {self.name} has no texts of modalities.",
                    "Set it to 0, or train dmpt.",
                )
            width = tuner.feature_width(backbone.image)
            return MultimodalObjective(width, len(modalities), classes, config, texts)
        if task == "text":
            widths = {tower.kind: tuner.feature_width(tower) for tower in (backbone.image, backbone.text)}
            if widths["image"] != widths["text"]:
                raise SettingsError(
                    f"The method {self.name} gives images {widths['image']} features and texts {widths['text']}.",
                    "Choose another method for text data.",
                )
            return TextObjective(widths["image"], classes, config, tuner.auxiliary)
        return IdentityObjective(tuner.feature_width(backbone.image), classes, config)

    def modality_texts(self, backbone: Backbone) -> Tensor | None:
        """Features [M, D] of a text for each modality, which images of that modality are held against; ``None``:
        the method has none."""
        return None

    def tuner(self, backbone: Backbone, seed: int = 0) -> Tuner:
        """A fresh tuner whose initial values depend on ``seed`` alone; the caller's random state is kept."""
        chosen = self.settings
        with seeded(derive_seed("tuner", seed)):
            components = self.components(backbone)
            if chosen.camera_embedding != "none":
                components["camera_embedding"] = CameraEmbedding(
                    backbone.image,
                    Cameras(chosen.camera_embedding, chosen.cameras),
                    chosen.camera_scale,
                    chosen.camera_rows,
                )
            return Tuner(components).to(backbone.device)
