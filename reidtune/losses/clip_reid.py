"""The two objectives of CLIP-ReID (Li et al. 2023, arXiv 2211.13977): identities as words, then images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.config import LossSection
from reidtune.losses.contrastive import supervised_contrastive
from reidtune.losses.identity import BNNeck, cross_entropy_smooth
from reidtune.losses.metric import metric_loss
from reidtune.losses.objective import SHARED
from reidtune.losses.triplet import triplet_of

TEXTS = f"{SHARED}texts"


class ClipReidObjective(nn.Module):
    """Stage 1, with outputs ``cached`` and ``text`` [B, D]: SupCon(cached → text) + SupCon(text → cached).

    Stage 2, with outputs ``row`` [B, d] (class row before the last block), ``image`` [B, d + D] (class row behind it
    and its projection) and :data:`TEXTS` [C, D] (fixed features of the identities' sentences): identity · Σ
    CE_smooth(BNNeck) of the two features + triplet · Σ hardest of all three + ``matching`` · CE_smooth(projection ·
    textsᵀ) + metric_weight · (the loss that ``config.metric`` names, of ``image``, which is what is ranked).
    """

    def __init__(self, width: int, projected: int, classes: int, config: LossSection, matching: float) -> None:
        super().__init__()
        self.config = config
        self.width = width
        self.matching = matching
        self.necks = nn.ModuleList([BNNeck(width, classes), BNNeck(projected, classes)])
        self.metric = metric_loss(config, classes, width + projected)

    def forward(self, outputs: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """→ the loss and its parts before weighting; computed in fp32, also under autocast."""
        with torch.autocast(labels.device.type, enabled=False):
            outputs = {name: value.float() for name, value in outputs.items()}
            return self._prompts(outputs, labels) if "cached" in outputs else self._images(outputs, labels)

    def _prompts(self, outputs: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        cached, text = outputs["cached"], outputs["text"]
        parts = {
            "image-to-text": supervised_contrastive(cached, text, labels, labels),
            "text-to-image": supervised_contrastive(text, cached, labels, labels),
        }
        return parts["image-to-text"] + parts["text-to-image"], parts

    def _images(self, outputs: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        row, projected = outputs["image"][:, : self.width], outputs["image"][:, self.width :]
        parts: dict[str, Tensor] = {}
        total = row.new_zeros(())
        if config.identity:
            scores = [neck(one) for neck, one in zip(self.necks, (row, projected), strict=True)]
            parts["identity"] = torch.stack(
                [cross_entropy_smooth(score, labels, config.label_smoothing) for score in scores]
            ).sum()
            total = total + config.identity * parts["identity"]
        if config.triplet:
            every = (outputs["row"], row, projected)
            parts["triplet"] = torch.stack([triplet_of(config, one, labels) for one in every]).sum()
            total = total + config.triplet * parts["triplet"]
        if self.matching:
            scores_of_texts = projected @ outputs[TEXTS].T
            parts["matching"] = cross_entropy_smooth(scores_of_texts, labels, config.label_smoothing)
            total = total + self.matching * parts["matching"]
        if self.metric is not None:
            parts["metric"] = self.metric(outputs["image"], labels)
            total = total + (config.metric_weight or 0.0) * parts["metric"]
        return total, parts
