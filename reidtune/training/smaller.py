"""The ways out of a want of memory, with what they would save of this very training."""

from __future__ import annotations

import traceback

import torch

from reidtune.config import FREE
from reidtune.training.out_of_memory import Facts, OutOfMemory, fixes, gigabytes
from reidtune.training.plan import dry_run
from reidtune.training.prepare import Prepared


def with_fixes(error: OutOfMemory, prepared: Prepared, command: str) -> OutOfMemory:
    """``error`` with the three cheapest ways out in its hint, if a training step raised it; ``command`` resumes the
    run. What they save is counted on a few samples, once the failed step has let go of its memory."""
    if not error.in_step:
        return error
    _let_go(error)
    facts = _facts(prepared)
    ways = [f"  {number}. {way}" for number, way in enumerate(fixes(facts, command, "precision" in FREE), 1)]
    kept = f" Autograd keeps about {gigabytes(facts.kept)} in a step, beside" if facts.kept else " There are"
    said = f"{error.message}{kept} {gigabytes(facts.weights)} of weights."
    return OutOfMemory(said, "\n".join(["What needs less, the cheapest in time first:", *ways]))


def _facts(prepared: Prepared) -> Facts:
    training, device = prepared.config.training, prepared.model.backbone.device
    try:
        memory = dry_run(prepared)["memory"]
    except Exception:  # as likely as not for want of memory: no figures, then
        memory = {}
    tensors = [*prepared.model.backbone.model.parameters(), *prepared.model.tuner.parameters()]
    settings = training.model_dump()
    return Facts(
        batch=training.batch_size,
        a_sample=memory.get("activation_bytes_per_image", 0),
        fixed=memory.get("activation_bytes_fixed", 0),
        weights=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        half=training.precision == "bf16",
        can_half=device.type == "cuda" and torch.cuda.is_bf16_supported(),
        checkpointed=settings["checkpoint"] == "all" if "checkpoint" in settings else None,
        micro_batch=training.micro_batch if isinstance(training.micro_batch, int) else None,
    )


def _let_go(error: BaseException | None) -> None:
    """Free what the frames of the failed step hold."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
