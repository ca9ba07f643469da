"""Several modalities of a sample: through the tower as one batch, and back into one feature a sample."""

from __future__ import annotations

import torch
from torch import Tensor

from reidtune.backbone.walk import Walk
from reidtune.data.batch import Batch
from reidtune.errors import SettingsError
from reidtune.seeds import derive_seed


def modality_walk(batch: Batch) -> tuple[Tensor, Walk]:
    """The images that are there, [n, 3, H, W], of a batch [B, M, 3, H, W] (or what stands for them), and a walk that
    knows which they are.

    They come modality by modality, so that each modality is one slice; dropout differs between modalities.
    """
    images = batch.inputs
    assert images is not None
    present = present_of(batch)
    modality, samples = present.T.nonzero(as_tuple=True)
    seeds = None
    if batch.seeds is not None:
        keys = [derive_seed("modality", place) for place in range(images.shape[1])]
        seeds = batch.seeds[samples] ^ torch.tensor(keys, device=images.device)[modality]
    walk = Walk(
        seeds=seeds,
        labels=None if batch.labels is None else batch.labels[samples],
        cameras=None if batch.cameras is None else batch.cameras[samples],
        scenes=None if batch.scenes is None else batch.scenes[samples],
        samples=samples,
        modality=modality,
    )
    return images[samples, modality], walk


def modality_of(walk: Walk) -> Tensor:
    """Which modality each image shows, [n] int64.

    Raises:
        SettingsError: the walk does not know.
    """
    if walk.modality is None:
        raise SettingsError(
            "This delta has to know which modality an image shows.",
            "Give samples by modality: embed_samples, or data in a multi-modal layout.",
        )
    return walk.modality


def present_of(batch: Batch) -> Tensor:
    """Boolean [B, M]: which modalities the samples have."""
    if batch.present is not None:
        return batch.present
    assert batch.inputs is not None
    return torch.ones(batch.inputs.shape[:2], dtype=torch.bool, device=batch.inputs.device)


def by_sample(rows: Tensor, walk: Walk, samples: int, modalities: int) -> Tensor:
    """What belongs to the images of a walk, [n, ...], at its place [B, M, ...]; zeros where there is no image."""
    assert walk.samples is not None and walk.modality is not None
    placed = rows.new_zeros(samples, modalities, *rows.shape[1:])
    return placed.index_put((walk.samples, walk.modality), rows)


def join(features: Tensor, present: Tensor) -> Tensor:
    """Features [B, M, D] of the modalities side by side, [B, M · D] (TOP-ReID, MambaPro and their family); zeros stand
    in the place of a missing one, and :class:`reidtune.retrieval.shared.SharedGallery` knows it by them."""
    return (features * present.to(features.dtype)[..., None]).flatten(1)
