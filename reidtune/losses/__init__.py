"""Losses: pure functions of features and labels."""

from reidtune.losses.identity import BNNeck, cross_entropy_smooth
from reidtune.losses.triplet import batch_hard_triplet

__all__ = ["BNNeck", "batch_hard_triplet", "cross_entropy_smooth"]
