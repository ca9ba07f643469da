"""Comparing samples of which some lack a modality: by what both have."""

from __future__ import annotations

import torch
from torch import Tensor


def shared_cosine(query: Tensor, gallery: Tensor, pieces: int) -> Tensor:
    """Cosines [Q, G] of features [Q, D] and [G, D] that are ``pieces`` equal parts side by side, one a modality; a part
    of zeros is missing.

    A pair is compared by the parts that both have, as if the others had never been there, so that a gallery item is
    not judged by what the query cannot know. Where two samples have no part in common, the means of the parts that each
    has are compared: modalities share one feature space. Where nothing is missing it is the plain cosine.
    """
    parts = [features.reshape(len(features), pieces, -1) for features in (query, gallery)]
    squares = [part.square().sum(-1) for part in parts]
    there = [square > 0 for square in squares]
    product = query @ gallery.T
    if all(bool(known.all()) for known in there):
        plain: Tensor = product / (query.norm(dim=1)[:, None] * gallery.norm(dim=1)).clamp(min=1e-12)
        return plain
    known = [one.to(query.dtype) for one in there]
    lengths = (squares[0] @ known[1].T) * (known[0] @ squares[1].T)
    scores: Tensor = product / lengths.sqrt().clamp(min=1e-12)
    apart = (known[0] @ known[1].T) == 0
    if apart.any():
        means = [torch.nn.functional.normalize(part.sum(1), dim=1) for part in parts]
        scores = torch.where(apart, means[0] @ means[1].T, scores)
    return scores


def anything_missing(features: Tensor, pieces: int) -> bool:
    """Whether a part of features [N, D] is all zeros."""
    return pieces > 1 and bool((features.reshape(len(features), pieces, -1).abs().amax(-1) == 0).any())
