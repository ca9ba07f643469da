"""The ways out of a want of memory, with what they would save of this very training."""

from __future__ import annotations

import traceback

import torch

from reidtune.config import FREE
from reidtune.training.footprint import layers_of, measure, recomputed_of
from reidtune.training.out_of_memory import Facts, OutOfMemory, fixes, gigabytes
from reidtune.training.prepare import Prepared
from reidtune.training.stop import StopNow, StopRequest


def with_fixes(
    error: OutOfMemory, prepared: Prepared, command: str, micro_batch: int | None, stop: StopRequest
) -> OutOfMemory:
    """``error`` with the three cheapest ways out in its hint, if a training step raised it; ``command`` resumes the
    run. What they save is counted on a few samples, once the failed step has let go of its memory."""
    if not error.in_step:
        return error
    _let_go(error)
    try:
        with stop.at_once():
            facts = _facts(prepared, micro_batch)
    except StopNow:
        return error
    ways = [f"  {number}. {way}" for number, way in enumerate(fixes(facts, command, "precision" in FREE), 1)]
    said = error.message
    if facts.kept:
        said += f" A step takes about {gigabytes(facts.kept)}, beside {gigabytes(facts.weights)} of weights."
    return OutOfMemory(said, "\n".join(["What needs less, the cheapest in time first:", *ways]))


def _facts(prepared: Prepared, micro_batch: int | None) -> Facts:
    training, device = prepared.config.training, prepared.model.backbone.device
    blocks, layers = recomputed_of(prepared), layers_of(prepared)
    tensors = [*prepared.model.backbone.model.parameters(), *prepared.model.tuner.parameters()]
    a_sample = fixed = 0
    checkpointed: int | None = None
    try:
        now = measure(prepared, blocks).peak
        a_sample, fixed = now.per_sample, now.fixed
        checkpointed = measure(prepared, layers).peak.per_sample
    except Exception:  # as likely as not for want of memory: no figures, then
        pass
    return Facts(
        batch=training.batch_size,
        a_sample=a_sample,
        fixed=fixed,
        weights=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        half=training.precision == "bf16",
        can_half=device.type == "cuda" and torch.cuda.is_bf16_supported(),
        checkpointed=blocks >= layers,
        a_sample_checkpointed=checkpointed,
        micro_batch=micro_batch,
    )


def _let_go(error: BaseException | None) -> None:
    """Free what the frames of the failed step hold."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
