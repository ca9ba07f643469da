"""Centre loss with the paper's own rule for the centres."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CenterLoss(nn.Module):
    """½ mean_i ‖x_i − c_{y_i}‖² (Wen et al. 2016, Eq. 2; the mean over the batch in place of its sum).

    A centre c_j is no parameter: after the loss of a training batch it moves by α · Σ_{i: y_i = j} (x_i − c_j) /
    (1 + n_j), n_j images of j (Eq. 4), whatever the weight of the loss. It starts where the first images of j have
    their mean, since a start elsewhere would first pull features there.

    Args:
        classes: C.
        width: D.
        alpha: the rate of the centres.
    """

    centers: Tensor
    seen: Tensor

    def __init__(self, classes: int, width: int, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("centers", torch.zeros(classes, width))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features [B, D], not normalised, and labels [B] in 0..C−1 → the loss; in training, the centres move."""
        with torch.no_grad():
            own = torch.zeros(len(self.seen), len(labels), dtype=features.dtype, device=features.device)
            own[labels, torch.arange(len(labels), device=labels.device)] = 1
            number, total = own.sum(1, keepdim=True), own @ features
            first = (number[:, 0] > 0) & ~self.seen
            before = torch.where(first[:, None], total / number.clamp(min=1), self.centers)
        loss = (features - before[labels]).square().sum(1).mean() / 2
        if self.training:
            self.centers.copy_(before + self.alpha * (total - number * before) / (1 + number))
            self.seen |= first
        return loss
