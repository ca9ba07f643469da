"""How a training is made to fit into a given memory: which blocks are computed again, how many samples go through the
towers at once. Neither changes a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reidtune.errors import SettingsError
from reidtune.training.footprint import Footprint, held_bytes, input_bytes, layers_of, measure, set_recomputed
from reidtune.training.memory import Cost, give_back_at_once, give_back_holes
from reidtune.training.prepare import Prepared
from reidtune.units import parse_bytes, precise_bytes

_SMALL = 4  # samples at once, below which blocks are rather computed again
_READ_AHEAD = 2  # batches of images that are there at once


@dataclass(frozen=True)
class MemoryChoice:
    """``recomputed`` blocks of each tower and ``micro_batch`` samples at once (``None``: the whole batch); ``held``
    bytes between steps, ``kept`` by autograd and ``peak`` in all, of which the last is a prediction; ``footprint`` is
    what the latter two follow from."""

    recomputed: int
    micro_batch: int | None
    footprint: Footprint
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
        return f"To fit {precise_bytes(budget)}, {what}; {precise_bytes(self.peak)} are expected at the most."


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
        return MemoryChoice(blocks, part, found, held, found.kept.of(count), held + found.peak.of(count))

    asked = _asked(checkpoint, layers)
    least, most = (0, layers) if asked is None else (asked, asked)
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
        f"The training does not fit {precise_bytes(budget)}: at least {precise_bytes(needed)} are needed"
        + (f", of which {precise_bytes(held)} are held before the first step" if room < 0 else "")
        + (" with the whole batch at once." if micro_batch == "none" and batch > 1 else "."),
        "Give it more --memory, or take a smaller --image-size or backbone, or a method that keeps less."
        if micro_batch == "auto"
        else "Leave --micro-batch to auto.",
    )


def _asked(checkpoint: str | int, layers: int) -> int | None:
    """How many blocks are to be computed again; ``None``: as many as are needed."""
    if isinstance(checkpoint, int):
        return min(checkpoint, layers)
    return {"none": 0, "all": layers}.get(checkpoint)


def _fewest_blocks(footprint: Measure, least: int, most: int, count: int, room: int) -> int | None:
    """The fewest of ``least`` to ``most`` blocks with which ``count`` samples fit; ``None``: not with all."""
    low, high = footprint(least).peak.of(count), footprint(most).peak.of(count)
    if low <= room:
        return least
    if high > room:
        return None
    while most - least > 1:  # with ``least`` they do not fit, with ``most`` they do
        guess = least + -(-(most - least) * (low - room) // (low - high))  # about a line
        guess = max(least + 1, min(most - 1, guess))
        if (needed := footprint(guess).peak.of(count)) <= room:
            most, high = guess, needed
        else:
            least, low = guess, needed
    return most


def _largest_part(peak: Cost, batch: int, room: int) -> int:
    """How many samples fit; 0: not one."""
    left = room - peak.fixed
    return max(0, min(batch, left // max(1, peak.per_sample)))


def plan_memory(prepared: Prepared, batch: int | None = None) -> MemoryChoice:
    """What is chosen for this training with batches of ``batch`` samples (default: the recipe's). Real steps on a few
    samples are counted; nothing is trained."""
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
        set_recomputed(prepared, _asked(training.checkpoint, layers) or 0)
        return training.micro_batch if isinstance(training.micro_batch, int) else None
    budget = parse_bytes(training.memory)
    if prepared.model.backbone.device.type == "cpu":
        give_back_at_once()  # holes that stay may double what a step takes, and those of counting would stay
        found = plan_memory(prepared, batch)
        give_back_at_once(budget < found.peak + (found.peak - found.held))
        give_back_holes()
    else:
        found = plan_memory(prepared, batch)
    say(found.sentence(budget, layers))
    set_recomputed(prepared, found.recomputed)
    return found.micro_batch
