"""Image–text matching losses of a batch of pairs: SDM, ITC and CMPM. Row i of image and text is one pair."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.losses.precision import full_precision

_EPSILON = 1e-8  # added to the target distribution under the logarithm
_SAME_IDENTITY = 0.3  # soft label of another image of the person, where image ids are given


@full_precision
def similarity_distribution_matching(
    image: Tensor,
    text: Tensor,
    labels: Tensor,
    temperature: float = 0.02,
    image_ids: Tensor | None = None,
    columns: bool = False,
) -> Tensor:
    """SDM (IRRA, Jiang & Ye 2023, arXiv 2303.12501, section 3.3): KL(p ‖ q) image → text plus the same text → image.

    p_i = softmax_j(cos(image_i, text_j) / temperature), q_ij = y_ij / Σ_k y_ik with y_ij = 1 where the persons of i and
    j are the same, and the logarithm of q is that of q + 1e-8. The directions are added, not averaged.

    With ``image_ids``, y_ij is 1 for captions of one image and 0.3 for those of another image of the person. The
    public code then divides y_ij by the sum of row j in place of row i, so that the rows of q do not sum to 1 and the
    loss has its minimum elsewhere than at p = q; ``columns`` does the same, for comparison with it. Without
    ``image_ids`` both are one.

    Args:
        image: [B, D], not necessarily normalised.
        text: [B, D].
        labels: person ids [B].
        image_ids: [B].
    """
    similarity = _cosines(image, text) / temperature
    matches = _matches(labels).to(similarity.dtype)
    if image_ids is not None:
        matches = torch.where(_matches(image_ids), 1.0, _SAME_IDENTITY * matches)
    target = matches / matches.sum(1)[None, :] if columns else matches / matches.sum(1, keepdim=True)
    return _divergence(similarity, target) + _divergence(similarity.T, target)


@full_precision
def image_text_contrast(image: Tensor, text: Tensor, temperature: float = 0.02, labels: Tensor | None = None) -> Tensor:
    """ITC (CLIP, Radford et al. 2021, Fig. 3): cross-entropy of cosines / temperature against the own partner, mean of
    image → text and text → image.

    Other pairs of the same person count as negatives, unless ``labels`` says which these are: they are then left out
    of the softmax (logit −∞), so that they are neither pulled nor pushed.

    Args:
        image: [B, D], not necessarily normalised.
        text: [B, D].
        labels: person ids [B].
    """
    similarity = _cosines(image, text) / temperature
    own = torch.arange(len(similarity), device=similarity.device)
    if labels is not None:
        others = _matches(labels) & (own[:, None] != own[None, :])
        similarity = similarity.masked_fill(others, float("-inf"))
    return (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2


@full_precision
def cross_modal_projection_matching(image: Tensor, text: Tensor, labels: Tensor) -> Tensor:
    """CMPM (Zhang & Lu 2018, ECCV): KL(p ‖ q) image → text plus the same text → image.

    p_i = softmax_j(image_i · text_j / ‖text_j‖): only the side that is projected on is normalised. q_ij = y_ij / ‖y_i‖₂
    as in the public code (the paper has the sum Σ_k y_ik), so a row of n matches sums to √n; the logarithm is of
    q + 1e-8.

    Args:
        image: [B, D], not normalised.
        text: [B, D].
        labels: person ids [B].
    """
    target = F.normalize(_matches(labels).to(image.dtype), dim=1)
    forward = _divergence(image @ F.normalize(text, dim=-1).T, target)
    return forward + _divergence(text @ F.normalize(image, dim=-1).T, target)


def _cosines(image: Tensor, text: Tensor) -> Tensor:
    return F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T


def _matches(labels: Tensor) -> Tensor:
    return labels[:, None] == labels[None, :]


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of Σ p (log p − log(target + ε)), p the softmax of a row; both [B, B]."""
    probability = logits.log_softmax(1)
    return (probability.exp() * (probability - (target + _EPSILON).log())).sum(1).mean()
