"""Comparing samples of which some lack a modality."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class SharedGallery:
    """A gallery [G, D] of which some samples, or some queries, lack a modality. Features are ``pieces`` equal parts
    side by side, one a modality; a part of zeros is missing.

    Every part is scaled to length 1, and a score is the mean of the cosines of the parts that the query has: what the
    query lacks does not count. A part that a gallery sample lacks is taken to be the gallery's mean of that part, so
    that the pair gets the similarity that is to be expected of it. Cosines of the common parts alone would not do:
    those of different modalities are not on one scale, and samples of the modality with the highest ones would come
    first, whoever they show. Where nothing at all is in common, the mean deviations of both samples from the gallery's
    means are compared, since all modalities share one feature space.

    Parts of length 1 weigh alike, where the plain cosine of joined features (which is used as long as nothing is
    missing at all) weighs them by their lengths: scores of complete pairs differ a little between the two.
    """

    def __init__(self, gallery: Tensor, pieces: int) -> None:
        self.pieces = pieces
        parts, self.known = self._parts(gallery)
        self.means = parts.sum(0) / self.known.sum(0).clamp(min=1)[:, None]  # [M, D / M]
        self.filled = torch.where(self.known[..., None], parts, self.means).flatten(1)
        self.deviation = self._deviation(parts, self.known)

    def scores(self, query: Tensor) -> Tensor:
        """Queries [Q, D] → [Q, G]; higher is nearer."""
        parts, known = self._parts(query)
        count = known.sum(1).clamp(min=1)[:, None]
        scores: Tensor = (parts.flatten(1) @ self.filled.T) / count
        apart = known.to(parts.dtype) @ self.known.to(parts.dtype).T == 0
        if apart.any():
            scores = torch.where(apart, scores + self._deviation(parts, known) @ self.deviation.T, scores)
        return scores

    def _parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Parts of length 1 [N, M, D / M], and which are there [N, M]."""
        parts = F.normalize(features.reshape(len(features), self.pieces, -1), dim=2)
        return parts, parts.any(2)

    def _deviation(self, parts: Tensor, known: Tensor) -> Tensor:
        """How the parts that samples have deviate from the means, on average: [N, D / M]."""
        deviations: Tensor = ((parts - self.means) * known[..., None]).sum(1) / known.sum(1).clamp(min=1)[:, None]
        return deviations


def anything_missing(features: Tensor, pieces: int) -> bool:
    """Whether a part of features [N, D] is all zeros."""
    return pieces > 1 and bool((~features.reshape(len(features), pieces, -1).any(-1)).any())
