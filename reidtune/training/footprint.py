"""What a step of a training takes, counted on a few samples: what autograd keeps, the most at once, what is held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from reidtune.backbone.tower import Tower
from reidtune.data import label_map
from reidtune.methods.base import Stage
from reidtune.training.batches import BatchSource
from reidtune.training.frozen import FrozenRows
from reidtune.training.memory import Cost, give_back_holes, peak_bytes, resident_bytes, saved_bytes
from reidtune.training.precision import autocast
from reidtune.training.prepare import Prepared

_FEW = 2  # samples, and twice as many, to count on
_LONG = 64  # captions with the most letters, of which those with the most tokens are taken
_ADAM = 2  # tensors of the size of each trained one that the optimiser holds
_STEP = 2  # such tensors that it makes while it steps


@dataclass(frozen=True)
class Footprint:
    """What a step of B samples takes with some blocks computed again: bytes that autograd ``kept`` after the forward
    pass, and the most at once until the backward pass is over (``peak``), gradients of the tuner included."""

    kept: Cost
    peak: Cost


def held_bytes(prepared: Prepared) -> int:
    """Bytes between steps: what the process (on a GPU: what is there) holds now, the heads, gradients and the
    optimiser's."""
    backbone, tuner = prepared.model.backbone, prepared.model.tuner
    trained = max(
        sum(_bytes(parameter) for name, parameter in tuner.named_parameters() if stage.trains(name))
        + (prepared.heads if stage.heads else 0)
        for stage in prepared.method.stages()
    )
    if backbone.device.type == "cuda":
        now = torch.cuda.memory_allocated(backbone.device)
    else:
        give_back_holes()
        own = [*backbone.model.parameters(), *tuner.parameters()]
        now = resident_bytes() or sum(map(_bytes, own))
    return now + prepared.heads + (1 + _ADAM + _STEP) * trained


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def input_bytes(prepared: Prepared) -> int:
    """Bytes of the images of one sample, as they go into the tower."""
    size = prepared.model.backbone.preprocess
    return 3 * size.height * size.width * 4 * max(1, len(prepared.model.modalities))


def measure(prepared: Prepared, recomputed: int) -> Footprint:
    """Forward and backward of a few samples, counted, of the stage with the highest peak; the values of the tuner stay,
    its gradients are left empty."""
    tuner, batch = prepared.model.tuner, prepared.config.training.batch_size
    before = {name: parameter.requires_grad for name, parameter in tuner.named_parameters()}
    try:
        set_recomputed(prepared, recomputed)
        found = [_measure(prepared, stage) for stage in prepared.method.stages()]
    finally:
        set_recomputed(prepared, 0)
        tuner.eval()
        for name, parameter in tuner.named_parameters():
            parameter.requires_grad_(before[name])
    return max(found, key=lambda footprint: footprint.peak.of(batch))


def _measure(prepared: Prepared, stage: Stage) -> Footprint:
    model, method, config = prepared.model, prepared.method, prepared.config
    backbone, tuner = model.backbone, model.tuner
    for name, parameter in tuner.named_parameters():
        parameter.requires_grad_(stage.trains(name))
    tuner.eval()
    with torch.no_grad(), autocast(model, config.training.precision):
        method.begin(stage, model, prepared.train)
    tuner.train()
    texts = prepared.dataset.task == "text"
    source = BatchSource(prepared.train, label_map(prepared.train), texts, backbone, config, model.modalities)
    chosen = _largest(prepared, 2 * _FEW)
    counts = sorted({max(1, len(chosen) // 2), len(chosen)})
    frozen = None
    if stage.features:  # whatever they are, they are as large
        places = torch.zeros(len(prepared.train), dtype=torch.int64)
        frozen = FrozenRows(torch.zeros(1, backbone.image.output_width), places, stage.name)
    held = [*tuner.parameters(), *backbone.model.parameters()]
    kept, peaks = [], []
    for count in counts:
        batch = next(source.batches([chosen[:count]], 0, images=stage.images, frozen=frozen)).to(backbone.device)

        def encode(batch: Any = batch) -> dict[str, torch.Tensor]:
            with autocast(model, config.training.precision):
                return method.encode(model, batch)

        def step(encode: Any = encode) -> None:
            outputs = encode()
            roots = [value for value in outputs.values() if value.requires_grad]
            torch.autograd.backward(roots, [torch.ones_like(value) for value in roots])

        kept.append(saved_bytes(encode, held))
        peaks.append(peak_bytes(step, backbone.device))
        tuner.zero_grad(set_to_none=True)
    if len(counts) == 1:
        return Footprint(Cost(0, kept[0]), Cost(0, peaks[0]))
    found = Cost.between(counts[0], kept[0], counts[1], kept[1])
    peak = Cost.between(counts[0], peaks[0], counts[1], peaks[1])
    # Of a few samples the highest moment may be another one than of many, and grow by less.
    per_sample = max(peak.per_sample, found.per_sample)
    return Footprint(found, Cost(max(0, peaks[1] - per_sample * counts[1]), per_sample))


def set_recomputed(prepared: Prepared, blocks: int) -> None:
    """How many blocks of each tower are computed again from now on."""
    for tower in towers_of(prepared):
        tower.recomputed = blocks


def recomputed_of(prepared: Prepared) -> int:
    """How many blocks are computed again now."""
    return max(int(tower.recomputed) for tower in towers_of(prepared))


def towers_of(prepared: Prepared) -> list[Tower]:
    """The towers that a training of this data goes through."""
    backbone = prepared.model.backbone
    return [backbone.image, *([backbone.text] if prepared.dataset.task == "text" else [])]


def layers_of(prepared: Prepared) -> int:
    """Blocks of the deepest tower."""
    layers: list[int] = [tower.layers for tower in towers_of(prepared)]
    return max(layers)


def _largest(prepared: Prepared, count: int) -> list[int]:
    """The samples with the most modalities and the longest captions: what is counted on them holds for every batch."""
    backbone = prepared.model.backbone
    sizes = [(len(record.images), sum(map(len, record.captions[:1]))) for record in prepared.train]
    found = sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)[: max(count, _LONG)]
    if prepared.dataset.task == "text":  # more letters need not be more tokens
        ids = backbone.tokenizer([prepared.train[place].captions[0] for place in found])
        tokens = backbone.text.ends(ids).tolist()
        found = [place for _, place in sorted(zip(tokens, found, strict=True), key=lambda pair: -pair[0])]
    return found[:count]
