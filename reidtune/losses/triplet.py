"""Batch-hard triplet loss (Hermans et al. 2017, arXiv 1703.07737, Eq. 5)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

_SMALLEST_SQUARE = 1e-12  # under the root, as the public ReID code has it


def euclidean_distances(one: Tensor, other: Tensor) -> Tensor:
    """Distances [N, M] of features [N, D] and [M, D], not normalised."""
    squares = one.square().sum(1)[:, None] + other.square().sum(1)[None, :] - 2 * one @ other.T
    return squares.clamp(min=_SMALLEST_SQUARE).sqrt()


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float | None = 0.3) -> Tensor:
    """Mean over anchors of max(0, d⁺ − d⁻ + margin), or of log(1 + exp(d⁺ − d⁻)) for ``margin=None`` (soft margin).

    d⁺ is the farthest feature of the anchor's label (itself included), d⁻ the nearest of another, by masks for each
    anchor: identities may have unequal numbers of images. A batch of one identity has no negatives; its loss is 0.

    Args:
        features: [B, D], not normalised.
        labels: [B].
    """
    distances = euclidean_distances(features, features)
    same = labels[:, None] == labels[None, :]
    # max and min, unlike amax and amin, give the whole gradient to the first of equal distances, as the public code
    positive = distances.masked_fill(~same, float("-inf")).max(1).values
    negative = distances.masked_fill(same, float("inf")).min(1).values
    if same.all():
        return features.sum() * 0
    gap = positive - negative
    return F.softplus(gap).mean() if margin is None else F.relu(gap + margin).mean()
