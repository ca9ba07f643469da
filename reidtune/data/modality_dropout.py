"""Modality dropout: training samples lose modalities at random, so that a model learns to do without any of them."""

from __future__ import annotations

import torch
from torch import Tensor

from reidtune.errors import SettingsError
from reidtune.seeds import derive_seed


def drop_modalities(present: Tensor, seeds: Tensor, probability: float) -> Tensor:
    """``present`` [B, M] bool with some more ``False``; a new tensor. What sample b loses follows from ``present[b]``
    and ``seeds[b]`` (of [B] int64) alone.

    Each modality that is there is dropped with ``probability``, independently; where that would drop all of them, one
    stays, each as likely. With ``probability`` 1 each sample keeps one.

    Raises ``SettingsError`` where ``probability`` is outside 0 to 1.
    """
    if not 0 <= probability <= 1:
        raise SettingsError(
            f"The probability that a modality is dropped is {probability}.", "Choose a value from 0 to 1."
        )
    draw = _draws(seeds, present.shape[1]).to(present.device)
    kept = present & (draw >= probability)
    last = draw.masked_fill(~present, -1.0).argmax(1, keepdim=True)
    one = torch.zeros_like(present).scatter_(1, last, True)
    return torch.where(kept.any(1, keepdim=True), kept, present & one)


def _draws(seeds: Tensor, modalities: int) -> Tensor:
    """Uniform numbers [B, M] in [0, 1), those of a sample from its seed."""
    generator = torch.Generator()
    rows = [
        torch.rand(modalities, generator=generator.manual_seed(derive_seed("drop modality", seed)))
        for seed in seeds.tolist()
    ]
    return torch.stack(rows) if rows else torch.zeros(0, modalities)
