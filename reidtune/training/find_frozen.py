"""What of a training, and of its validations, could be computed once: where the method's part begins, and whether it
is worth it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from reidtune.backbone.walk import Walk
from reidtune.config import RunConfig
from reidtune.data.record import ImageFile, Record
from reidtune.methods.base import Method, Stage
from reidtune.model import Model
from reidtune.training.frozen import AUGMENTED, Frozen
from reidtune.training.schedule import plan_steps, sampler_for
from reidtune.tuning.tuner import Tuner

_EARLY = "the method acts in the first block already, or before it"
_UNWANTED = "training.cache_frozen is none"


def find_frozen(config: RunConfig, method: Method, model: Model, records: Sequence[Record]) -> Frozen:
    """What of a training on ``records`` can be computed once. A forward pass of one blank image counts FLOPs."""
    tower, stages = model.backbone.image, method.stages()
    stage = next((stage for stage in stages if stage.features), None)
    block = model.tuner.first_block(tower) if stage is None else tower.layers + 1
    found = _frozen(config, model, records, block, stage)
    plan = plan_steps(stages, len(sampler_for(records, config)), config)
    reads = plan.steps * config.training.batch_size * max(1, len(model.modalities))
    augment = config.augmentation
    reason = None
    if stage is None:
        if block == 0:
            reason = _EARLY
        elif type(method).encode is not Method.encode:
            reason = "the method reads images by itself"
        elif config.training.cache_frozen == "none":
            reason = _UNWANTED
        elif reads <= len(found.images):
            reason = "no image is read twice"
        elif augment.flip or augment.pad or augment.erase:
            reason = AUGMENTED
    return found.unless(reason)


def find_frozen_validation(config: RunConfig, model: Model, records: Sequence[Record]) -> Frozen:
    """What of the validations on ``records`` can be computed once: never are their images augmented."""
    block = model.tuner.first_block(model.backbone.image)
    found = _frozen(config, model, records, block if records else 0, of_validation=True)
    reason = None
    if not records:
        reason = "there is no validation"
    elif block == 0:
        reason = _EARLY
    elif config.training.cache_frozen == "none":
        reason = _UNWANTED
    return found.unless(reason)


def _frozen(
    config: RunConfig,
    model: Model,
    records: Sequence[Record],
    block: int,
    stage: Stage | None = None,
    of_validation: bool = False,
) -> Frozen:
    images = tuple(dict.fromkeys(image for record in records for image in record.images))
    shape, share = _probe(model, block) if block else ((), 0.0)
    return Frozen(
        model,
        config,
        images,
        _places(records, images, model.modalities),
        block,
        shape,
        "fp32" if block > model.backbone.image.layers else config.training.precision,
        share,
        stage=None if stage is None else stage.name,
        of_validation=of_validation,
    )


def _places(records: Sequence[Record], images: Sequence[ImageFile], modalities: Sequence[str]) -> Tensor:
    numbers = {image: number for number, image in enumerate(images)}
    if not modalities:
        return torch.tensor([numbers[record.images[0]] for record in records], dtype=torch.int64)
    found = torch.full((len(records), len(modalities)), -1)
    for row, record in enumerate(records):
        for name, image in zip(record.modalities, record.images, strict=True):
            if name in modalities:
                found[row, modalities.index(name)] = numbers[image]
    return found


@torch.no_grad()
def _probe(model: Model, block: int) -> tuple[tuple[int, ...], float]:
    """The shape of what is kept of one image, and its share of the forward FLOPs."""
    backbone, plain = model.backbone, Tuner()
    tower, preprocess = backbone.image, backbone.preprocess
    blank = torch.zeros(1, 3, preprocess.height, preprocess.width, device=backbone.device)
    with FlopCounterMode(display=False) as whole:
        feature = tower(blank, plain)
    if block > tower.layers:
        return tuple(feature.shape[1:]), 1.0
    with FlopCounterMode(display=False) as before:
        rows = tower.rows_before(blank, plain, Walk(), block)
    return tuple(rows.shape[1:]), before.get_total_flops() / whole.get_total_flops()
