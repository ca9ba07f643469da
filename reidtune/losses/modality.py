"""The contrast of images with the texts of modalities."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from reidtune.losses.precision import full_precision


@full_precision
def modality_contrast(features: Tensor, texts: Tensor, modality: Tensor, temperature: float = 0.07) -> Tensor:
    """Mean cross-entropy of cos(feature_i, text_m) / temperature over the texts m, against the modality of image i.

    An image is drawn to the text of its modality and away from those of the others: the visual-language similarity
    that DMPT (Lin et al., WACV 2025) names; its form is a reading.

    Args:
        features: [n, D], not necessarily normalised.
        texts: [M, D], one a modality.
        modality: [n] in 0..M−1.
    """
    cosines = F.normalize(features, dim=-1) @ F.normalize(texts, dim=-1).T
    return F.cross_entropy(cosines / temperature, modality)
