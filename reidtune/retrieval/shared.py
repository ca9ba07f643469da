"""Comparing samples of which some lack a modality."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


class Shared:
    """Samples of which some lack a modality. Features are ``pieces`` equal parts side by side, one a modality; a part
    of zeros is missing.

    Every part is scaled to length 1, and a score is the mean of the cosines of the parts that the query has: what the
    query lacks does not count. A part that a gallery sample lacks is taken to be the gallery's mean of that part, so
    that the pair gets the similarity that is to be expected of it. Cosines of the common parts alone would not do:
    those of different modalities are not on one scale, and samples of the modality with the highest ones would come
    first, whoever they show. Where nothing at all is in common, the mean deviations of both samples from the gallery's
    means are compared, since all modalities share one feature space.

    Parts of length 1 weigh alike, where the plain cosine of joined features (which is used as long as nothing is
    missing at all) weighs them by their lengths: scores of complete pairs differ a little between the two.
    """

    def __init__(self, gallery: Iterable[Tensor], pieces: int) -> None:
        """``gallery`` are its features, some rows [n, D] at a time; only their means are kept."""
        self.pieces = pieces
        total, number = torch.zeros(()), torch.zeros(())
        for features in gallery:
            parts, known = self._parts(features)
            total = total.to(parts.device) + parts.double().sum(0)
            number = number.to(parts.device) + known.sum(0)
        self.means = (total / number.clamp(min=1)[:, None]).float()  # [M, D / M]

    def query(self, features: Tensor) -> tuple[Tensor, ...]:
        """Features [N, D] to parts [N, D], deviations [N, D / M] and which parts are there [N, M]."""
        parts, known = self._parts(features)
        return parts.flatten(1), self._deviation(parts, known), known.float()

    def items(self, features: Tensor) -> tuple[Tensor, ...]:
        """As :meth:`query`, with the means in place of missing parts."""
        parts, known = self._parts(features)
        filled = torch.where(known[..., None], parts, self.means)
        return filled.flatten(1), self._deviation(parts, known), known.float()

    def finish(
        self,
        query: tuple[Tensor, ...],
        items: tuple[Tensor, ...],
        scores: Tensor,
        product: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """Make scores [Q, N] of the product of the parts, in place; ``product`` multiplies two more such matrices."""
        scores /= query[2].sum(1).clamp(min=1)[:, None]
        apart = query[2] @ items[2].T == 0
        if apart.any():
            scores += product(query[1], items[1]).where(apart, 0.0)

    def _parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Parts of length 1 [N, M, D / M], and which are there [N, M]."""
        parts = F.normalize(features.reshape(len(features), self.pieces, -1), dim=2)
        return parts, parts.any(2)

    def _deviation(self, parts: Tensor, known: Tensor) -> Tensor:
        """How the parts that samples have deviate from the means, on average: [N, D / M]."""
        deviations: Tensor = ((parts - self.means) * known[..., None]).sum(1) / known.sum(1).clamp(min=1)[:, None]
        return deviations


class SharedGallery:
    """A gallery [G, D] in memory, compared as :class:`Shared` says."""

    def __init__(self, gallery: Tensor, pieces: int) -> None:
        self._shared = Shared([gallery], pieces)
        self._items = self._shared.items(gallery)
        self.means = self._shared.means

    def scores(self, query: Tensor) -> Tensor:
        """Queries [Q, D] → [Q, G]; higher is nearer."""
        encoded = self._shared.query(query)
        scores = encoded[0] @ self._items[0].T
        self._shared.finish(encoded, self._items, scores, lambda queries, items: queries @ items.T)
        return scores


def anything_missing(features: Tensor, pieces: int) -> bool:
    """Whether a part of features [N, D] is all zeros."""
    return pieces > 1 and bool((~features.reshape(len(features), pieces, -1).any(-1)).any())
