"""Batch-hard triplet loss (Hermans et al. 2017, arXiv 1703.07737, Eq. 5)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from reidtune.config import LossSection
from reidtune.losses.precision import full_precision

_SMALLEST_SQUARE = 1e-12  # under the root, as the public ReID code has it


def euclidean_distances(one: Tensor, other: Tensor) -> Tensor:
    """Distances [N, M] of features [N, D] and [M, D], not normalised."""
    squares = one.square().sum(1)[:, None] + other.square().sum(1)[None, :] - 2 * one @ other.T
    return squares.clamp(min=_SMALLEST_SQUARE).sqrt()


@full_precision
def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float | None = 0.3) -> Tensor:
    """Mean over anchors of max(0, d⁺ − d⁻ + margin), or of log(1 + exp(d⁺ − d⁻)) for ``margin=None`` (soft margin).

    d⁺ is the farthest feature of the anchor's label, d⁻ the nearest of another, by masks for each anchor: identities
    may have unequal numbers of images. An anchor without another image of its label, or of another label, makes no
    triplet and is left out of the mean; where that holds for all of them, the loss is 0.

    Args:
        features: [B, D], not normalised.
        labels: [B].
    """
    distances = euclidean_distances(features, features)
    same = labels[:, None] == labels[None, :]
    anchors = (same.sum(1) > 1) & ~same.all(1)
    if not anchors.any():
        return features.sum() * 0
    distances, same = distances[anchors], same[anchors]
    # max and min, unlike amax and amin, give the whole gradient to the first of equal distances, as the public code;
    # the anchor itself counts among the positives there, which matters only where all of them equal it
    positive = distances.masked_fill(~same, float("-inf")).max(1).values
    negative = distances.masked_fill(same, float("inf")).min(1).values
    gap = positive - negative
    return F.softplus(gap).mean() if margin is None else F.relu(gap + margin).mean()


def triplet_of(config: LossSection, features: Tensor, labels: Tensor) -> Tensor:
    """:func:`batch_hard_triplet` as ``config.margin`` and ``config.triplet_features`` have it."""
    if config.triplet_features == "unit":
        features = F.normalize(features, dim=-1)
    return batch_hard_triplet(features, labels, None if config.margin == "soft" else config.margin)
