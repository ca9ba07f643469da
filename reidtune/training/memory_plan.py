"""How a training is made to fit into a given memory: which blocks are computed again, how many samples go through the
towers at once. Neither changes a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from reidtune.backbone.tower import Tower
from reidtune.errors import SettingsError
from reidtune.settings import parse_bytes
from reidtune.training.batches import BatchSource
from reidtune.training.memory import Cost, peak_bytes, resident_bytes, saved_bytes
from reidtune.training.precision import autocast
from reidtune.training.prepare import Prepared

_FEW = 2  # samples, and twice as many, to count on
_SMALL = 4  # samples at once, below which blocks are rather computed again
_ADAM = 2  # tensors of the size of each trained one that the optimiser holds
_READ_AHEAD = 2  # batches of images that are there at once
_STEP = 2  # such tensors that it makes while it steps


@dataclass(frozen=True)
class Footprint:
    """What a step of B samples takes with some blocks computed again: bytes that autograd ``kept`` after the forward
    pass, and the most at once until the backward pass is over (``peak``), gradients of the tuner included."""

    kept: Cost
    peak: Cost


@dataclass(frozen=True)
class MemoryChoice:
    """``recomputed`` blocks of each tower and ``micro_batch`` samples at once (``None``: the whole batch); ``held``
    bytes between steps, ``kept`` by autograd and ``peak`` in all, of which the last is a prediction."""

    recomputed: int
    micro_batch: int | None
    held: int
    kept: int
    peak: int

    def sentence(self, budget: int, layers: int) -> str:
        """What is done to fit ``budget``."""
        done = []
        if self.recomputed:
            which = "all blocks are" if self.recomputed >= layers else f"{self.recomputed} of {layers} blocks are"
            done.append(f"{which} computed again for the backward pass")
        if self.micro_batch:
            done.append(f"{self.micro_batch} samples go through the towers at once, in two passes")
        what = " and ".join(done) or "nothing has to be done"
        return f"To fit {gigabytes(budget)}, {what}; {gigabytes(self.peak)} are expected at the most."


Measure = Callable[[int], Footprint]


def choose(
    measure: Measure,
    *,
    budget: int | None,
    held: int,
    batch: int,
    layers: int,
    checkpoint: str | int = "auto",
    micro_batch: str | int = "auto",
) -> MemoryChoice:
    """The cheapest way in time to stay within ``budget`` bytes; ``None``: no limit.

    The first blocks are computed again, as few as will do, which costs a part of a forward pass. If all are not enough,
    the batch goes through the towers in parts, which costs a whole one; if parts would be tiny, both. What is not
    ``auto`` is taken as it is.

    Args:
        measure: the footprint with so many blocks computed again.
        held: bytes between steps.
        batch: samples B of a batch (of this process).
        layers: blocks of the deepest tower.

    Raises:
        SettingsError: even the least does not fit; it says how much is needed.
    """
    known: dict[int, Footprint] = {}

    def footprint(blocks: int) -> Footprint:
        if blocks not in known:
            known[blocks] = measure(blocks)
        return known[blocks]

    def choice(blocks: int, part: int | None) -> MemoryChoice:
        found, count = footprint(blocks), min(batch, part or batch)
        return MemoryChoice(blocks, part, held, found.kept.of(count), held + found.peak.of(count))

    fixed_blocks = {"none": 0, "all": layers}.get(str(checkpoint), checkpoint)
    least, most = (0, layers) if fixed_blocks == "auto" else (int(fixed_blocks), int(fixed_blocks))
    fixed_part = None if micro_batch in ("auto", "none") else int(micro_batch)
    if budget is None:
        return choice(least, fixed_part)
    room = budget - held
    count = min(batch, fixed_part or batch)
    if (blocks := _fewest_blocks(footprint, least, most, count, room)) is not None:
        return choice(blocks, fixed_part)
    if micro_batch == "auto":
        parts = {blocks: _largest_part(footprint(blocks).peak, batch, room) for blocks in (least, most)}
        blocks = least if parts[least] >= min(_SMALL, batch) else most
        if parts[blocks]:
            return choice(blocks, -(-batch // -(-batch // parts[blocks])))  # parts of equal size
    needed = held + footprint(most).peak.of(1 if micro_batch == "auto" else count)
    raise SettingsError(
        f"The training does not fit {gigabytes(budget)}: at least {gigabytes(needed)} are needed"
        + (" with the whole batch at once." if micro_batch == "none" and batch > 1 else "."),
        "Give it more --memory, or take a smaller --image-size or backbone, or a method that keeps less."
        if micro_batch == "auto"
        else "Leave --micro-batch to auto.",
    )


def _fewest_blocks(footprint: Measure, least: int, most: int, count: int, room: int) -> int | None:
    if footprint(least).peak.of(count) <= room:
        return least
    low, high = footprint(least).peak.of(count), footprint(most).peak.of(count)
    if high > room or most == least:
        return None
    blocks = least + -(-(most - least) * (low - room) // (low - high))  # about a line
    while blocks < most and footprint(blocks).peak.of(count) > room:
        blocks += 1
    return blocks


def _largest_part(peak: Cost, batch: int, room: int) -> int:
    """How many samples fit; 0: not one."""
    left = room - peak.fixed
    return max(0, min(batch, left // max(1, peak.per_sample)))


def plan_memory(prepared: Prepared, batch: int | None = None) -> MemoryChoice:
    """What is chosen for this training, its last stage (which keeps most, where there are several), with batches of
    ``batch`` samples (default: the recipe's). Real steps on a few samples are counted; nothing is trained."""
    training = prepared.config.training
    batch = batch or training.batch_size
    return choose(
        lambda blocks: measure(prepared, blocks),
        budget=None if training.memory is None else parse_bytes(training.memory),
        held=held_bytes(prepared) + _READ_AHEAD * batch * input_bytes(prepared),
        batch=batch,
        layers=layers_of(prepared),
        checkpoint=training.checkpoint,
        micro_batch=training.micro_batch,
    )


def settle(prepared: Prepared, say: Callable[[str], None], batch: int | None = None) -> int | None:
    """Have the towers compute blocks again as the settings want it, and return how many samples go through them at
    once (``None``: the whole batch). Only where a limit is set something is counted first, and said."""
    training = prepared.config.training
    layers = layers_of(prepared)
    if training.memory is None:
        blocks = {"auto": 0, "none": 0, "all": layers}.get(str(training.checkpoint), training.checkpoint)
        set_recomputed(prepared, int(blocks))
        return training.micro_batch if isinstance(training.micro_batch, int) else None
    found = plan_memory(prepared, batch)
    say(found.sentence(parse_bytes(training.memory), layers))
    set_recomputed(prepared, found.recomputed)
    return found.micro_batch


def held_bytes(prepared: Prepared) -> int:
    """Bytes between steps: what the process (on a GPU: what is there) holds now, gradients and the optimiser's."""
    backbone, tuner = prepared.model.backbone, prepared.model.tuner
    last = prepared.method.stages()[-1]
    trained = sum(
        parameter.numel() * parameter.element_size()
        for name, parameter in tuner.named_parameters()
        if last.trains(name)
    )
    if backbone.device.type == "cuda":
        now = torch.cuda.memory_allocated(backbone.device)
    else:
        own = [*backbone.model.parameters(), *tuner.parameters()]
        now = resident_bytes() or sum(value.numel() * value.element_size() for value in own)
    return now + (1 + _ADAM + _STEP) * trained


def input_bytes(prepared: Prepared) -> int:
    """Bytes of the images of one sample, as they go into the tower."""
    size = prepared.model.backbone.preprocess
    return 3 * size.height * size.width * 4 * max(1, len(prepared.model.modalities))


def measure(prepared: Prepared, recomputed: int) -> Footprint:
    """Forward and backward of a few samples, counted; the values of the tuner stay, its gradients are left empty."""
    model, method, config = prepared.model, prepared.method, prepared.config
    backbone, tuner = model.backbone, model.tuner
    texts = prepared.dataset.task == "text"
    source = BatchSource(
        prepared.train, {r.identity: 0 for r in prepared.train}, texts, backbone, config, model.modalities
    )
    chosen = _largest(prepared, 2 * _FEW)
    last = method.stages()[-1]
    before = {name: parameter.requires_grad for name, parameter in tuner.named_parameters()}
    held = [*tuner.parameters(), *backbone.model.parameters()]
    kept, peaks = [], []
    counts = (max(1, len(chosen) // 2), len(chosen))
    try:
        for name, parameter in tuner.named_parameters():
            parameter.requires_grad_(last.trains(name))
        with torch.no_grad(), autocast(model, config.training.precision):
            method.begin(last, model, prepared.train)
        set_recomputed(prepared, recomputed)
        tuner.train()
        for count in counts:
            batch = next(source.batches([chosen[:count]], 0)).to(backbone.device)

            def encode(batch: Any = batch) -> dict[str, torch.Tensor]:
                with autocast(model, config.training.precision):
                    return method.encode(model, batch)

            def step(encode: Any = encode) -> None:
                outputs = encode()
                roots = [value for name, value in outputs.items() if value.requires_grad]
                torch.autograd.backward(roots, [torch.ones_like(value) for value in roots])

            kept.append(saved_bytes(encode, held))
            peaks.append(peak_bytes(step, backbone.device))
            tuner.zero_grad(set_to_none=True)
    finally:
        set_recomputed(prepared, 0)
        tuner.eval()
        for name, parameter in tuner.named_parameters():
            parameter.requires_grad_(before[name])
    if counts[0] == counts[1]:
        return Footprint(Cost(0, kept[0]), Cost(0, peaks[0]))
    return Footprint(
        Cost.between(counts[0], kept[0], counts[1], kept[1]), Cost.between(counts[0], peaks[0], counts[1], peaks[1])
    )


def set_recomputed(prepared: Prepared, blocks: int) -> None:
    """How many blocks of each tower are computed again from now on."""
    for tower in towers_of(prepared):
        tower.recomputed = blocks


def recomputed_of(prepared: Prepared) -> int:
    """How many blocks are computed again now."""
    return max(int(tower.recomputed) for tower in towers_of(prepared))


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


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
    sizes = [(len(record.images), sum(map(len, record.captions[:1]))) for record in prepared.train]
    return sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)[:count]
