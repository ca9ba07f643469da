"""Supervised contrastive loss between two sets of features."""

from __future__ import annotations

from torch import Tensor

from reidtune.losses.precision import full_precision


@full_precision
def supervised_contrastive(
    one: Tensor, other: Tensor, labels_one: Tensor, labels_other: Tensor, temperature: float = 1.0
) -> Tensor:
    """Khosla et al. 2020 (arXiv 2004.11362), between two sets as in CLIP-ReID (Li et al. 2023):
    −mean_i (1 / |P(i)|) Σ_{p ∈ P(i)} log softmax_j(one_i · other_j / temperature)_p, P(i) all of ``other`` with the
    label of i. Rows of ``one`` without a partner are left out; without any, the loss is 0.

    One direction: CLIP-ReID's stage 1 adds image → text and text → image, with temperature 1 and features as the
    projections give them, so that their length matters.

    Args:
        one: [N, D], not normalised.
        other: [M, D].
        labels_one: [N].
        labels_other: [M].
    """
    log_probability = (one @ other.T / temperature).log_softmax(1)
    partner = labels_one[:, None] == labels_other[None, :]
    number = partner.sum(1)
    rows = log_probability.where(partner, 0.0).sum(1) / number.clamp(min=1)
    return -rows.sum() / (number > 0).sum().clamp(min=1)
