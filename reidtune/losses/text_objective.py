"""What a text-based method minimises: matching of images and captions, and whose they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from reidtune.config import LossSection
from reidtune.losses.identity import cross_entropy_smooth
from reidtune.losses.matching import (
    cross_modal_projection_matching,
    image_text_contrast,
    similarity_distribution_matching,
)
from reidtune.losses.metric import metric_loss
from reidtune.losses.objective import STATISTICS

Auxiliary = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def no_auxiliary(statistics: dict[str, Tensor]) -> dict[str, Tensor]:
    """The auxiliary losses of a method without any."""
    return {}


class TextObjective(nn.Module):
    """sdm · SDM + itc · ITC + cmpm · CMPM + identity · (CE(W f_image + b, y) + CE(W f_text + b, y)) / 2
    + auxiliary · (what components add), as IRRA (Jiang & Ye 2023, arXiv 2303.12501) and its family, and
    metric_weight · (the loss that ``config.metric`` names, of images and texts as one set of 2 B features: images and
    captions of a person are positives of each other, and one vector of an identity serves both).

    One classifier [C, D], N(0, 0.001) with bias 0, serves both modalities, on features as the towers give them; it is
    there only where ``config.identity`` is not 0, and no delta holds it. A weight of 0 leaves its part out.

    Args:
        width: D.
        classes: C.
        config: weights, ``temperature`` of SDM and ITC, ``itc_masked`` (other pairs of a person are no negatives).
        auxiliary: from the statistics that components left to named losses, each weighed by ``config.auxiliary``.
    """

    def __init__(self, width: int, classes: int, config: LossSection, auxiliary: Auxiliary = no_auxiliary) -> None:
        super().__init__()
        self.config = config
        self.auxiliary = auxiliary
        self.classifier: nn.Linear | None = None
        if config.identity:
            self.classifier = nn.Linear(width, classes)
            nn.init.normal_(self.classifier.weight, std=0.001)
            nn.init.zeros_(self.classifier.bias)
        self.metric = metric_loss(config, classes, width)

    def forward(self, outputs: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """``image`` and ``text`` features [B, D], row i of both being one pair, statistics under
        :data:`~reidtune.losses.objective.STATISTICS`, and labels [B] in 0..classes−1 → the loss and its parts before
        weighting. Computed in fp32, also under autocast."""
        with torch.autocast(labels.device.type, enabled=False):
            return self._compute({name: value.float() for name, value in outputs.items()}, labels)

    def _compute(self, outputs: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config, image, text = self.config, outputs["image"], outputs["text"]
        parts: dict[str, Tensor] = {}
        total = image.new_zeros(())

        def add(name: str, weight: float, value: Tensor) -> None:
            nonlocal total
            parts[name] = value
            total = total + weight * value

        if config.sdm:
            add("sdm", config.sdm, similarity_distribution_matching(image, text, labels, config.temperature))
        if config.itc:
            known = labels if config.itc_masked else None
            add("itc", config.itc, image_text_contrast(image, text, config.temperature, known))
        if config.cmpm:
            add("cmpm", config.cmpm, cross_modal_projection_matching(image, text, labels))
        if self.classifier is not None:
            both = [cross_entropy_smooth(self.classifier(one), labels, config.label_smoothing) for one in (image, text)]
            add("identity", config.identity, (both[0] + both[1]) / 2)
        if self.metric is not None:
            add(
                "metric",
                config.metric_weight or 0.0,
                self.metric(torch.cat([image, text]), torch.cat([labels, labels])),
            )
        if config.auxiliary:
            statistics = {
                name.removeprefix(STATISTICS): value for name, value in outputs.items() if name.startswith(STATISTICS)
            }
            for name, value in self.auxiliary(statistics).items():
                add(name, config.auxiliary, value)
        return total, parts
