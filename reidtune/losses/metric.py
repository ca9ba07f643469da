"""One of the metric losses that a recipe names, from pytorch-metric-learning where it has it right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.config import LossSection
from reidtune.losses.center import CenterLoss
from reidtune.metric_losses import METRIC_LOSSES, check_installed


class MetricLoss(nn.Module):
    """A loss of :data:`reidtune.metric_losses.METRIC_LOSSES` on features before any neck.

    Features are L2-normalised first, but for ``center``. Vectors of identities (arcface, cosface, normalized-softmax,
    proxy-anchor) are this module's parameters: trained as neck and classifier are, in no delta. Anchors without a
    positive or without a negative in the batch are left out of the mean of ``circle``, those without a positive of that
    of ``supcon``; in ``multi-similarity`` they count as 0, as in the authors' code.

    Args:
        name: of the loss.
        settings: complete ones.
        classes: C.
        width: D.

    Raises:
        SettingsError: the library is not installed.
    """

    def __init__(self, name: str, settings: Mapping[str, float], classes: int, width: int) -> None:
        super().__init__()
        self.page = METRIC_LOSSES[name]
        self.miner: Any = None
        if self.page.own:
            self.loss: Any = CenterLoss(classes, width, **settings)
            return
        check_installed(name)
        from pytorch_metric_learning import losses, miners

        own = dict(settings)
        if name == "multi-similarity":
            self.miner = miners.MultiSimilarityMiner(epsilon=own.pop("epsilon"))
        kinds = {
            "circle": losses.CircleLoss,
            "supcon": losses.SupConLoss,
            "multi-similarity": losses.MultiSimilarityLoss,
            "arcface": losses.ArcFaceLoss,
            "cosface": losses.CosFaceLoss,
            "normalized-softmax": losses.NormalizedSoftmaxLoss,
            "proxy-anchor": losses.ProxyAnchorLoss,
        }
        if not self.page.pairs:
            own |= {"num_classes": classes, "embedding_size": width}
        self.loss = kinds[name](**own)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features [B, D], not normalised, and labels [B] in 0..C−1 → the loss, in fp32, also under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            if not self.page.raw:
                features = F.normalize(features, dim=-1)
            pairs = () if self.miner is None else (self.miner(features, labels),)
            loss: Tensor = self.loss(features, labels, *pairs)
            return loss + features.sum() * 0  # a batch without pairs has a gradient, too


def metric_loss(config: LossSection, classes: int, width: int) -> MetricLoss | None:
    """The loss that a recipe names; ``None`` where it names none."""
    if not (config.metric and config.metric_weight):
        return None
    return MetricLoss(config.metric, config.metric_settings, classes, width)
