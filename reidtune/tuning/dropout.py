"""Dropout whose mask for an input depends on that input's own seed alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.backbone.walk import Walk
from reidtune.seeds import derive_seed

# Multipliers of SplitMix64 (Steele et al. 2014), as signed 64-bit integers; products wrap around.
_STEP, _FIRST, _SECOND = (c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def row_dropout(values: Tensor, p: float, walk: Walk, place: str) -> Tensor:
    """Zero each entry of ``values`` [B, ...] with probability ``p`` and scale the rest by 1 / (1 − p).

    The mask of row b is a function of ``walk.seeds[b]`` and ``place`` (which dropout of the model it is) and nothing
    else: not of the batch, the process or the device. So micro-batches, several processes and a resumed run drop the
    same entries as one plain run; and so does the row ``walk.kept`` of each input, alone in ``values`` [B, 1, ...],
    whose mask is the one that it has among all rows. Without seeds it is ordinary dropout.
    """
    if p == 0:
        return values
    seeds = walk.seeds
    if seeds is None:
        return F.dropout(values, p)
    count = values[0].numel()
    number = torch.arange(1, count + 1, dtype=torch.int64, device=values.device)
    if walk.kept is not None and values.shape[1] == 1:
        number = number + walk.kept[:, None] * count
    mixed = (seeds.to(values.device) ^ derive_seed("dropout", place))[:, None] + number * _STEP
    mixed = (mixed ^ _shifted(mixed, 30)) * _FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * _SECOND
    uniform = _shifted(mixed ^ _shifted(mixed, 31), 11)  # 53 bits
    keep = (uniform >= int(p * (1 << 53))).view_as(values)
    return values * keep.to(values.dtype) / (1 - p)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; torch's own copies the sign."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)
