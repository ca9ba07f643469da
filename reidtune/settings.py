"""The settings of a run by section, each with its default, its bounds and one line of description."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from reidtune.errors import SettingsError
from reidtune.metric_losses import METRIC_LOSSES, check_name, complete_settings
from reidtune.units import parse_bytes


def _image_size(value: Any) -> tuple[int, int] | None:
    if value is None or value == "auto":
        return None
    if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})", value.strip())):
        value = [int(match[1]), int(match[2])]
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(type(item) is int for item in value):
        raise ValueError(f'must be "HEIGHTxWIDTH" in pixels, such as "256x128", but is {value!r}')
    if min(value) < 1:
        raise ValueError(f"must be positive, but is {value[0]}x{value[1]}")
    return value[0], value[1]


def parse_image_size(text: str) -> tuple[int, int]:
    """``"256x128"`` → (256, 128), height × width in pixels; raises :class:`SettingsError` for anything else."""
    try:
        size = _image_size(text)
    except ValueError as error:
        raise SettingsError(f"--image-size {error}.") from error
    if size is None:
        raise SettingsError('--image-size must be "HEIGHTxWIDTH" in pixels, such as "256x128".')
    return size


def _margin(value: Any) -> float | Literal["soft"]:
    if value == "soft":
        return "soft"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f'must be a number from 0 on or "soft", but is {value!r}')
    return float(value)


def _betas(value: Any) -> tuple[float, float]:
    numbers = isinstance(value, list | tuple) and all(type(item) in (int, float) for item in value)
    if not numbers or len(value) != 2 or not all(0 <= item < 1 for item in value):
        raise ValueError(f"must be two numbers from 0 on and below 1, but is {value!r}")
    return float(value[0]), float(value[1])


def _memory(value: str | None) -> str | None:
    if value is not None:
        parse_bytes(value)
    return value


def _count_or(*words: str) -> Callable[[Any], str | int]:
    def check(value: Any) -> str | int:
        if isinstance(value, str) and value.strip().isdigit():
            value = int(value)
        if value in words or (type(value) is int and value > 0):
            found: str | int = value
            return found
        if value == 0 and type(value) is int and "none" in words:
            return "none"
        raise ValueError(f"must be {', '.join(words)} or a number from 1 on, but is {value!r}")

    return check


# TOML has no null: "auto" stands for a value that the run finds out, "none" for something switched off. to_toml writes
# them back.
_Auto = BeforeValidator(lambda value: None if value == "auto" else value)
_Off = BeforeValidator(lambda value: None if value == "none" else value)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class BackboneSection(_Section):
    name: Annotated[str | None, _Auto] = Field(
        default=None,
        min_length=1,
        description="open_clip name, tiny, or local-dir:FOLDER; auto: tiny for demo, else ViT-B-16",
    )
    pretrained: Annotated[str | None, _Auto] = Field(
        default=None, min_length=1, description="tag or weights file; none: seeded random weights; auto: openai"
    )
    image_size: Annotated[tuple[int, int] | None, PlainValidator(_image_size)] = Field(
        default=None, description="height x width in pixels; auto: the backbone's own"
    )
    resize: Literal["bicubic", "bilinear"] = Field(
        default="bicubic", description="how positional embeddings are resized"
    )
    activation: Annotated[Literal["gelu", "quick_gelu"] | None, _Auto] = Field(
        default=None, description="gelu or quick_gelu, where a weights file does not tell; auto: what the weights need"
    )


class DataSection(_Section):
    layout: Annotated[str | None, _Auto] = Field(
        default=None, description="how the dataset lies on disk; auto: recognised"
    )
    protocol: Annotated[str | None, _Auto] = Field(
        default=None, description="what a ranking ignores, such as cross-camera; auto: the layout's"
    )
    columns: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict, description='which column of a table is what, such as { identity = "name" }'
    )
    validation_fraction: float = Field(
        default=0.2, ge=0, lt=0.9, description="share of the training identities held out for validation; 0: none"
    )
    noun: str = Field(default="person", min_length=1, description="what the images show; fills prompt templates")


class LossSection(_Section):
    identity: float = Field(default=1.0, ge=0, description="weight of the identity cross-entropy")
    triplet: float = Field(default=1.0, ge=0, description="weight of the batch-hard triplet loss")
    margin: Annotated[float | Literal["soft"], PlainValidator(_margin)] = Field(
        default=0.3, description='triplet margin (Euclidean), or "soft" for the soft margin'
    )
    triplet_features: Literal["raw", "unit"] = Field(
        default="raw", description="features of the triplet loss: raw, as published, or unit (L2-normalised)"
    )
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="label smoothing of the identity cross-entropy")
    metric: Annotated[str | None, _Off] = Field(
        default=None, description=f"a further loss on the features: {', '.join(METRIC_LOSSES)}; none: no other"
    )
    metric_weight: Annotated[float | None, _Auto] = Field(
        default=None, ge=0, validate_default=True, description="its weight; auto: 1, of center 0.0005"
    )
    metric_settings: Annotated[dict[str, Any], Field(validate_default=True)] = Field(
        default_factory=dict, description="its own settings; what is not given is the library's default"
    )
    sdm: float = Field(default=0.0, ge=0, description="weight of similarity distribution matching (text data)")
    itc: float = Field(default=0.0, ge=0, description="weight of the image-text contrast (text data)")
    itc_masked: bool = Field(default=False, description="other pairs of a person are no negatives of the contrast")
    cmpm: float = Field(default=0.0, ge=0, description="weight of cross-modal projection matching (text data)")
    temperature: float = Field(default=0.02, gt=0, description="cosines are divided by it in sdm and itc")
    auxiliary: float = Field(default=0.0, ge=0, description="weight of the losses that components add (load balancing)")
    heads: Literal["joint", "each"] = Field(
        default="joint",
        description="multi-modal data: one head on the joined features (joint), or one for each modality (each)",
    )
    modality: float = Field(
        default=0.0, ge=0, description="weight of the contrast of images with the texts of modalities (dmpt)"
    )
    modality_temperature: float = Field(default=0.07, gt=0, description="cosines are divided by it in modality")

    @field_validator("metric")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return None if value is None else check_name(value)

    @field_validator("metric_weight")
    @classmethod
    def _usual(cls, value: float | None, info: ValidationInfo) -> float | None:
        name = info.data.get("metric")
        return METRIC_LOSSES[name].weight if value is None and name else value

    @field_validator("metric_settings")
    @classmethod
    def _complete(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "metric" not in info.data:
            return value  # its name is wrong, which is said
        if (name := info.data["metric"]) is not None:
            return complete_settings(name, value)
        if value:
            raise ValueError(f"{', '.join(value)} is set, but loss.metric is none")
        return value


class OptimiserSection(_Section):
    name: Literal["adam", "adamw"] = Field(default="adamw", description="adam or adamw")
    lr: float = Field(default=3e-4, gt=0, description="learning rate after the warm-up")
    weight_decay: float = Field(default=1e-4, ge=0, description="weight decay of everything but biases")
    bias_lr_factor: float = Field(default=2.0, ge=0, description="learning rate of biases, as a multiple of lr")
    bias_weight_decay: float = Field(default=0.0, ge=0, description="weight decay of biases")
    betas: Annotated[tuple[float, float], PlainValidator(_betas)] = Field(
        default=(0.9, 0.999), description="decay of the running averages of the gradient and of its square"
    )
    eps: float = Field(default=1e-8, gt=0, description="added to the denominator of Adam")
    warmup_epochs: float = Field(default=1.0, ge=0, description="epochs of linear warm-up")
    warmup_factor: float = Field(
        default=0.1, gt=0, le=1, description="learning rate at the first step, as a multiple of lr"
    )
    final_lr_factor: float = Field(default=0.0, ge=0, le=1, description="learning rate at the end of the cosine")
    clip_norm: Annotated[float | None, _Off] = Field(
        default=1.0, gt=0, description="largest gradient norm; none: no clipping"
    )
    head_lr_factor: float = Field(
        default=1.0, gt=0, description="learning rate of neck and classifier, as a multiple of lr"
    )


class TrainingSection(_Section):
    epochs: int = Field(default=20, gt=0, description="passes over the training identities")
    steps: Annotated[int | None, _Off] = Field(
        default=None, gt=0, description="optimiser steps instead of epochs; none: epochs"
    )
    batch_size: int = Field(default=64, gt=0, description="images in a batch: identities x instances")
    sampler: Literal["identity", "shuffle"] = Field(
        default="identity",
        description="identity: batches of identities x instances; shuffle: every sample once an epoch",
    )
    instances: int = Field(default=4, gt=0, description="samples of each identity in a batch (sampler identity)")
    memory: Annotated[str | None, _Off, AfterValidator(_memory)] = Field(
        default=None, description='what the training may take at the most, such as "8GB"; none: no limit'
    )
    checkpoint: Annotated[str | int, PlainValidator(_count_or("auto", "none", "all"))] = Field(
        default="auto", description="blocks computed again for the backward pass; auto: as few as fit the memory"
    )
    micro_batch: Annotated[str | int, PlainValidator(_count_or("auto", "none"))] = Field(
        default="auto",
        description="samples in the towers at once, losses still of the batch; none: all; auto: as fits the memory",
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="fp32 or bf16 (autocast; what is trained stays fp32)"
    )
    compile: bool = Field(default=False, description="torch.compile for the blocks of the towers, where it works")
    cache_frozen: Literal["auto", "none"] = Field(
        default="auto",
        description="rows before the first trained block computed once, where images are not augmented; none: never",
    )
    workers: Annotated[int | None, _Auto] = Field(
        default=None,
        ge=0,
        description="processes that read images; changes nothing but speed; auto: by the device and its cores",
    )
    image_cache: Literal["auto", "none", "disk"] = Field(
        default="auto",
        description="keep squashed images in the cache folder; changes nothing but speed; auto: where it pays",
    )
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps"
    )
    validate_every: int = Field(default=1, gt=0, description="epochs between validations")

    @model_validator(mode="after")
    def _batches(self) -> TrainingSection:
        if self.sampler == "shuffle":
            if self.batch_size < 2:
                raise ValueError("batch_size is 1, and two samples are needed")
            return self
        if self.batch_size % self.instances:
            raise ValueError(f"batch_size {self.batch_size} is not divisible by instances {self.instances}")
        if self.batch_size < 2 * self.instances:
            raise ValueError(
                f"batch_size {self.batch_size} with instances {self.instances} holds one identity, and two are needed"
            )
        return self


class AugmentationSection(_Section):
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a horizontal flip")
    pad: int = Field(default=10, ge=0, description="pixels padded on each side before the random crop")
    erase: float = Field(default=0.5, ge=0, le=1, description="probability of erasing a rectangle")
    mask_words: float = Field(default=0.0, ge=0, lt=1, description="probability of masking a word of a caption")
    drop_modality: float = Field(
        default=0.0, ge=0, lt=1, description="probability of dropping a modality of a sample; one always stays"
    )


class RunConfig(_Section):
    """Every setting of a run. ``settings`` are the method's own, checked by :func:`validate_settings`."""

    method: str = Field(default="lora", description="what is trained; see reidtune methods")
    seed: int = Field(default=1, ge=0, description="of everything random")
    backbone: BackboneSection = Field(default_factory=BackboneSection)
    data: DataSection = Field(default_factory=DataSection)
    settings: dict[str, Any] = Field(default_factory=dict)
    loss: LossSection = Field(default_factory=LossSection)
    optimiser: OptimiserSection = Field(default_factory=OptimiserSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    augmentation: AugmentationSection = Field(default_factory=AugmentationSection)

    @model_validator(mode="after")
    def _losses(self) -> RunConfig:
        loss = self.loss
        metric = METRIC_LOSSES[loss.metric] if loss.metric and loss.metric_weight else None
        if not any((loss.identity, loss.triplet, loss.sdm, loss.itc, loss.cmpm, metric)):
            raise ValueError("loss.identity, triplet, sdm, itc and cmpm are all 0, so there is nothing to learn from")
        if self.training.sampler == "identity" and self.training.instances < 2:
            pairs = metric.name if metric is not None and metric.pairs else ""
            if loss.triplet > 0 or pairs:
                raise ValueError(f"training.instances must be at least 2 for the {pairs or 'triplet'} loss, but is 1")
        return self
