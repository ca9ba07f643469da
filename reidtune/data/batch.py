"""What goes through a model at once: images, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reidtune.data.record import Record
from reidtune.seeds import derive_seed


@dataclass(frozen=True)
class Batch:
    """``images`` are float32 [B, 3, H, W], or [B, M, 3, H, W] of M modalities, of which ``present`` [B, M]
    bool tells those that a sample has (``None``: all; the others are zeros); ``texts`` are token ids [B, T] int64
    of a caption each; ``cameras`` and ``scenes`` [B] int64, ``None`` where one is unknown. A training batch also has
    ``labels`` [B], classes from 0, ``seeds`` [B], one for each sample from (seed, epoch, position), from which dropout
    follows, and ``indices`` [B] of the samples among all training samples. ``images`` is ``None`` where
    ``frozen`` stands for them, what the frozen part of the image tower made of them once: rows [B, N, d] that enter the
    first block that the tuner has a part in, or the features [B, D] where it has a part in none; [B, M, ...] of M
    modalities."""

    images: Tensor | None
    cameras: Tensor | None = None
    labels: Tensor | None = None
    seeds: Tensor | None = None
    texts: Tensor | None = None
    indices: Tensor | None = None
    present: Tensor | None = None
    scenes: Tensor | None = None
    frozen: Tensor | None = None

    @property
    def inputs(self) -> Tensor | None:
        """The images, or what stands for them."""
        return self.frozen if self.images is None else self.images

    def to(self, device: torch.device) -> Batch:
        return Batch(*(None if part is None else part.to(device) for part in vars(self).values()))

    def split(self, size: int | None) -> list[Batch]:
        """Batches of ``size`` samples in order, the last one with what is left; ``None``: the batch itself."""
        parts = list(vars(self).values())
        count = next(len(part) for part in parts if part is not None)
        if size is None or size >= count:
            return [self]
        starts = range(0, count, size)
        return [Batch(*(None if part is None else part[start : start + size] for part in parts)) for start in starts]


def make_batch(
    images: Tensor | None,
    records: Sequence[Record],
    labels: Tensor | None = None,
    seeds: Tensor | None = None,
    texts: Tensor | None = None,
    indices: Tensor | None = None,
    modalities: Sequence[str] = (),
) -> Batch:
    """The batch of ``records``, whose images [B, ...] are read already: [B, M, ...] of M ``modalities``."""
    cameras, scenes = (_known([getattr(record, kind) for record in records]) for kind in ("camera", "scene"))
    present = None
    if modalities and any(len(record.images) < len(modalities) for record in records):
        present = torch.tensor([[name in record.modalities for name in modalities] for record in records])
    return Batch(images, cameras, labels, seeds, texts, indices, present, scenes)


def _known(places: list[int | None]) -> Tensor | None:
    return None if any(place is None for place in places) else torch.tensor(places, dtype=torch.int64)


def dropout_seeds(seed: int, epoch: int, start: int, count: int) -> Tensor:
    """Seeds [count] int64 of the samples at positions ``start`` … of an epoch."""
    return torch.tensor(
        [derive_seed("dropout", seed, epoch, start + place) for place in range(count)], dtype=torch.int64
    )
