"""What an image ReID method minimises: smoothed identity loss behind a BNNeck, and batch-hard triplet loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.config import LossSection
from reidtune.losses.identity import BNNeck, cross_entropy_smooth
from reidtune.losses.metric import metric_loss
from reidtune.losses.triplet import triplet_of

# Prefixes among the outputs of an encoder; all others have a row a sample.
STATISTICS = "statistics/"  # sums over the batch
SHARED = "shared/"  # constants, without a gradient


class IdentityObjective(nn.Module):
    """identity · CE_smooth(W BN(f), y) + triplet · hardest(f, y), as bag-of-tricks baselines (Luo et al. 2019), and
    metric_weight · (the loss that ``config.metric`` names).

    The triplet loss takes the features as the tower gives them, before the BNNeck, and L2-normalised only where
    ``config.triplet_features`` says so. What learns here serves the loss only; no delta holds it.
    """

    def __init__(self, width: int, classes: int, config: LossSection) -> None:
        super().__init__()
        self.config = config
        self.neck = BNNeck(width, classes)
        self.metric = metric_loss(config, classes, width)

    def forward(self, outputs: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """``image`` features [B, D] and labels [B] in 0..classes−1 → the loss and its parts before weighting.
        Computed in fp32, also under autocast."""
        with torch.autocast(labels.device.type, enabled=False):
            return self._compute(outputs["image"].float(), labels)

    def _compute(self, features: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        parts: dict[str, Tensor] = {}
        total = features.new_zeros(())
        if config.identity:
            parts["identity"] = cross_entropy_smooth(self.neck(features), labels, config.label_smoothing)
            total = total + config.identity * parts["identity"]
        if config.triplet:
            parts["triplet"] = triplet_of(config, features, labels)
            total = total + config.triplet * parts["triplet"]
        if self.metric is not None:
            parts["metric"] = self.metric(features, labels)
            total = total + (config.metric_weight or 0.0) * parts["metric"]
        return total, parts
