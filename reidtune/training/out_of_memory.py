"""No memory left in mid-training: what was asked for, and what makes the run smaller, cheapest first."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from reidtune.errors import ReidtuneError

_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50}
_ASKED = re.compile(rf"(?:allocate|allocating) ([\d.]+) ({'|'.join(_UNITS)})")
_CPU = "DefaultCPUAllocator"
_MPS = "MPS backend out of memory"
_BEST = 3  # so many ways out are told
_PART = 4  # a micro-batch is a batch by this


class OutOfMemory(ReidtuneError):  # noqa: N818 - what happened
    """The run needs more memory than there is; ``in_step``: for a training step."""

    def __init__(self, message: str, hint: str, in_step: bool = True) -> None:
        super().__init__(message, hint)
        self.in_step = in_step


@dataclass(frozen=True)
class Facts:
    """What a step needs, in bytes: ``a_sample`` and ``fixed`` are what it takes for each sample in the towers and
    once (0: not known), ``weights`` those of backbone and tuner, ``batch`` the samples of a batch.

    ``half`` says whether bf16 is on, ``can_half`` whether the device computes in it. ``checkpointed`` says whether all
    blocks are computed again in the backward pass, ``a_sample_checkpointed`` what a sample takes then, about one row
    block a block, where that is known. ``micro_batch`` is how many samples are in the towers at once (``None``: all).
    """

    batch: int
    a_sample: int
    fixed: int
    weights: int
    half: bool = False
    can_half: bool = False
    checkpointed: bool = False
    a_sample_checkpointed: int | None = None
    micro_batch: int | None = None

    @property
    def in_the_towers(self) -> int:
        return min(self.batch, self.micro_batch or self.batch)

    @property
    def kept(self) -> int:
        """Bytes of a step."""
        return self.fixed + self.a_sample * self.in_the_towers


def asked_for(error: BaseException) -> str | None:
    """How much memory was asked for in vain, such as ``2.0 GB``, or ``memory`` where the error does not say; ``None``
    for any other error. Torch raises a kind of its own on CUDA and a plain ``RuntimeError`` on the CPU; NumPy and
    Pillow raise ``MemoryError``."""
    text = str(error)
    plain = isinstance(error, RuntimeError) and (_CPU in text or _MPS in text)
    if not (plain or isinstance(error, torch.OutOfMemoryError | MemoryError)):
        return None
    found = _ASKED.search(text)
    return gigabytes(float(found[1]) * _UNITS[found[2]]) if found else "memory"


def fixes(facts: Facts, go_on: str, half_resumes: bool = False) -> list[str]:
    """What makes a step need less memory, a sentence each: at most three, cheapest in time first.

    ``go_on`` is the command that resumes the run, which all accept that leave the result as it is. bf16 rounds
    otherwise, so it is a new run unless ``half_resumes``; a smaller batch or smaller images, which come last, change
    what is learnt.
    """
    found = []
    if facts.can_half and not facts.half:
        end = f": {go_on} --precision bf16" if half_resumes else "; it rounds otherwise, so it is a new run"
        found.append(f"--precision bf16 {_saves(facts.kept // 2, facts)} and takes no longer{end}")
    exact = "for one more forward pass a step; the result stays"
    if not facts.checkpointed:
        rows = facts.a_sample_checkpointed
        saved = None if rows is None else (facts.a_sample - rows) * facts.in_the_towers
        found.append(f"--checkpoint all {_saves(saved, facts)} {exact}: {go_on} --checkpoint all")
    part = max(1, facts.in_the_towers // _PART)
    if part < facts.in_the_towers:
        setting = f"--micro-batch {part}"
        saved = facts.a_sample * (facts.in_the_towers - part)
        also = exact if facts.micro_batch is None else "and is slower; the result stays"
        found.append(f"{setting} {_saves(saved, facts)} {also}: {go_on} {setting}")
    if facts.batch > 1:
        half = facts.batch // 2
        saved = facts.a_sample * max(0, facts.in_the_towers - half)
        found.append(f"--batch-size {half} {_saves(saved, facts)}, but changes what is learnt: a new run")
    found.append("a smaller --image-size keeps less with every pixel, but changes what is learnt: a new run")
    return found[:_BEST]


def gigabytes(count: float) -> str:
    """``1.2 GB``, powers of ten; ``35 MB`` below one."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count:,.0f} B"


def _saves(saved: int | None, facts: Facts) -> str:
    if saved is None or not facts.kept:
        return "saves a part of the activations"
    return f"saves about {gigabytes(saved)} of {gigabytes(facts.kept)}"
