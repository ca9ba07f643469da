"""Identity classification: label-smoothed cross-entropy and the neck in front of it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def cross_entropy_smooth(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """Mean cross-entropy of logits [B, C] against (1 − ε) · onehot + ε / C (Szegedy et al. 2016, Eq. in section 7)."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


class BNNeck(nn.Module):
    """Batch norm with its bias frozen at 0, then a bias-free linear classifier N(0, 0.001) (Luo et al. 2019).

    Features [B, D] → logits [B, C].
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.norm.bias.requires_grad_(False)
        self.classifier = nn.Linear(width, classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.norm(features))
        return logits
