"""What a multi-modal method minimises: identity and triplet losses of one head or of one a modality."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.config import LossSection
from reidtune.fusion import join
from reidtune.losses.identity import BNNeck, cross_entropy_smooth
from reidtune.losses.metric import metric_loss
from reidtune.losses.modality import modality_contrast
from reidtune.losses.triplet import triplet_of


class MultimodalObjective(nn.Module):
    """Σ over heads (identity · CE_smooth(W BN(f), y) + triplet · hardest(f, y) + metric_weight · (the loss that
    ``config.metric`` names)) + modality · (contrast of images with the texts of modalities), as in the public code of
    DeMo and MambaPro (Wang et al., AAAI 2025), which have no metric loss.

    ``config.heads`` says what f is: the joined feature of a sample (``joint``: one head of width M · D, a missing
    modality as :func:`reidtune.fusion.join` fills it), or the feature of one modality (``each``: M heads of width D).
    A head of ``each`` and its batch statistics see only samples with that modality, and a head with fewer than two of
    them is left out of the step. The triplet loss takes features before the neck, L2-normalised only where
    ``config.triplet_features`` says so. What learns here serves the loss only; no delta holds it.

    Args:
        width: D.
        modalities: M.
        classes: C.
        config: weights, ``heads``, ``margin``, ``label_smoothing``, ``modality_temperature``.
        texts: [M, D], a fixed feature for each modality; needed where ``config.modality`` is not 0.
    """

    texts: Tensor | None

    def __init__(
        self, width: int, modalities: int, classes: int, config: LossSection, texts: Tensor | None = None
    ) -> None:
        super().__init__()
        if config.modality and (texts is None or texts.shape != (modalities, width)):
            found = "none" if texts is None else list(texts.shape)
            raise ValueError(f"loss.modality needs texts [{modalities}, {width}], but they are {found}")
        self.config = config
        joint = config.heads == "joint"
        count, size = (1, modalities * width) if joint else (modalities, width)
        self.necks = nn.ModuleList(BNNeck(size, classes) for _ in range(count))
        metrics = [metric_loss(config, classes, size) for _ in range(count)]
        self.metrics = nn.ModuleList(metric for metric in metrics if metric is not None)
        self.register_buffer("texts", None if texts is None else texts.detach().float().clone(), persistent=False)

    def forward(self, outputs: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """``image`` features [B, M, D], ``present`` [B, M] bool (left out: every modality is there) and labels [B] in
        0..classes−1 → the loss and its parts before weighting: ``identity``, ``triplet`` (sums over heads),
        ``modality``. Computed in fp32, also under autocast."""
        with torch.autocast(labels.device.type, enabled=False):
            features = outputs["image"].float()
            present = outputs.get("present")
            if present is None:
                present = features.new_ones(features.shape[:2], dtype=torch.bool)
            return self._compute(features, present, labels)

    def _compute(self, features: Tensor, present: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        inputs = self._inputs(features, present, labels)
        heads = [(neck, one, whose) for neck, (one, whose) in zip(self.necks, inputs, strict=True) if len(one) > 1]
        nothing = features.sum() * 0  # with a gradient, for the rare step in which every head is left out
        parts: dict[str, Tensor] = {}
        total = nothing
        if config.identity:
            scores = [cross_entropy_smooth(neck(one), whose, config.label_smoothing) for neck, one, whose in heads]
            parts["identity"] = sum(scores, nothing)
            total = total + config.identity * parts["identity"]
        if config.triplet:
            parts["triplet"] = sum((triplet_of(config, one, whose) for _, one, whose in heads), nothing)
            total = total + config.triplet * parts["triplet"]
        if self.metrics:
            found = [
                metric(one, whose) for metric, (one, whose) in zip(self.metrics, inputs, strict=True) if len(one) > 1
            ]
            parts["metric"] = sum(found, nothing)
            total = total + (config.metric_weight or 0.0) * parts["metric"]
        if config.modality:
            assert self.texts is not None
            samples, modality = present.nonzero(as_tuple=True)
            parts["modality"] = modality_contrast(
                features[samples, modality], self.texts, modality, config.modality_temperature
            )
            total = total + config.modality * parts["modality"]
        return total, parts

    def _inputs(self, features: Tensor, present: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What each head gets: features [n, ·] and the labels [n] that belong to them."""
        if self.config.heads == "joint":
            return [(join(features, present), labels)]
        every = range(features.shape[1])
        return [(features[present[:, place], place], labels[present[:, place]]) for place in every]
