"""Losses: pure functions of features and labels."""

from reidtune.losses.center import CenterLoss
from reidtune.losses.contrastive import supervised_contrastive
from reidtune.losses.identity import BNNeck, cross_entropy_smooth
from reidtune.losses.matching import (
    cross_modal_projection_matching,
    image_text_contrast,
    similarity_distribution_matching,
)
from reidtune.losses.metric import MetricLoss
from reidtune.losses.modality import modality_contrast
from reidtune.losses.triplet import batch_hard_triplet

__all__ = [
    "BNNeck",
    "CenterLoss",
    "MetricLoss",
    "batch_hard_triplet",
    "cross_entropy_smooth",
    "cross_modal_projection_matching",
    "image_text_contrast",
    "modality_contrast",
    "similarity_distribution_matching",
    "supervised_contrastive",
]
