"""Features changed by what they are compared with: query expansion, and the mean of each camera taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.errors import SettingsError, did_you_mean
from reidtune.retrieval.arguments import check_number
from reidtune.retrieval.neighbours import top
from reidtune.retrieval.pairs import Pairs, own_places
from reidtune.retrieval.protocol import LEAVE_ONE_OUT

AQE, ALPHA_QE = "aqe", "alpha-qe"
KINDS = (AQE, ALPHA_QE)
SIDES = ("query", "both")


@dataclass(frozen=True)
class Expansion:
    """``kind`` aqe weighs the ``k`` neighbours like the query, alpha-qe by cos^``alpha``; ``side`` both expands the
    gallery as well, before the queries.

    Raises:
        SettingsError: an unknown kind or side, or a value out of its range.
    """

    kind: str = ALPHA_QE
    k: int = 5
    alpha: float = 3.0
    side: str = "query"

    def __post_init__(self) -> None:
        for name, value, known in (("expansion", self.kind, KINDS), ("side", self.side, SIDES)):
            if value not in known:
                raise SettingsError(
                    f'Unknown {name} "{value}".{did_you_mean(value, known)}', f"Choose one of {', '.join(known)}."
                )
        check_number("k", self.k)
        if not self.alpha >= 0:
            raise SettingsError(f"Expansion with alpha={self.alpha}.", "alpha is not negative.")

    def describe(self) -> dict[str, Any]:
        alpha = {"alpha": self.alpha} if self.kind == ALPHA_QE else {}
        return {"kind": self.kind, "k": self.k, **alpha, "side": self.side}


def expand(pairs: Pairs, expansion: Expansion, same: tuple[Tensor, Tensor] | None = None) -> Pairs:
    """Every query f replaced by normalise(f + Σ w g) over the ``k`` gallery items g that are nearest to it.

    w is 1 for average query expansion (Chum et al. 2007) and max(cos(f, g), 0)^α for αQE (Radenović et al. 2019). With
    the side ``both`` each gallery item is first replaced in the same way, by its nearest ones among the others.

    Neighbours are found without labels: items that the protocol ignores serve like any; only junk and the query's own
    image do not. Of equal scores the first in gallery order is nearer. A modality that a sample lacks is filled by its
    neighbours'.

    Args:
        same: names of queries [Q] and gallery items [G]: of one name and equal features, they are one image. Under
            ``leave-one-out`` the rows of ``pairs`` say it, which is all that is known by default.

    Raises:
        SettingsError: features that are compared by Euclidean distance.
    """
    if pairs.similarity != "cosine":
        raise SettingsError("Query expansion weighs neighbours by cosines.", "Use --similarity cosine.")
    own = None
    if pairs.protocol == LEAVE_ONE_OUT:
        own = pairs.query_rows, pairs.gallery_rows
    elif same is not None:
        own = own_places(pairs, same), torch.arange(len(pairs.gallery))
    if expansion.side == "both":
        rows = pairs.gallery_rows
        gallery = replace(pairs, query=pairs.gallery, query_rows=rows)
        itself = torch.arange(len(rows))
        pairs = replace(pairs, gallery=_expanded(gallery, expansion, (itself, itself)))
    return replace(pairs, query=_expanded(pairs, expansion, own))


def _expanded(pairs: Pairs, expansion: Expansion, same: tuple[Tensor, Tensor] | None) -> Tensor:
    """The expanded queries [Q, D]; ``same`` has the samples' names of both sides, of which equal ones are left out."""
    expanded = pairs.query.clone()
    for part in pairs.parts():
        scores = pairs.scores(part)
        if same is not None:
            scores.masked_fill_(same[0][part][:, None] == same[1][None, :], -torch.inf)
        places, values = (torch.from_numpy(found) for found in top(scores.numpy(), expansion.k))
        weights = torch.ones_like(values) if expansion.kind == AQE else values.clamp(min=0) ** expansion.alpha
        weights = weights.where(places >= 0, 0.0)
        near = pairs.gallery[places.clamp(min=0).long()]  # [q, k, D]
        expanded[part] += (weights[..., None] * near).sum(1)
    return F.normalize(expanded)


def subtract_camera_means(pairs: Pairs, query_cameras: Sequence[int], gallery_cameras: Sequence[int]) -> Pairs:
    """Features minus the mean of their camera's, of length 1 again.

    A camera's mean is taken over its images in query and gallery together, without junk and without labels of
    identity: it looks at the cameras of the test split, so it measures what is possible once images of every camera
    are at hand. A camera with a single image takes the mean of all images. Modalities have a mean each, and one that a
    sample lacks stays missing.

    Args:
        query_cameras: [Q]; ``gallery_cameras`` of the gallery as it was given, junk included.

    Raises:
        SettingsError: features that are compared by Euclidean distance.
    """
    if pairs.similarity != "cosine":
        raise SettingsError("Camera means are taken of features of length 1.", "Use --similarity cosine.")
    gallery = torch.as_tensor(gallery_cameras)[pairs.kept]
    camera = torch.unique(torch.cat([torch.as_tensor(query_cameras), gallery]), return_inverse=True)[1]
    parts = torch.cat([pairs.query, pairs.gallery]).reshape(len(camera), pairs.pieces, -1)
    there = parts.any(2)  # [N, pieces]
    number = parts.new_zeros(int(camera.max()) + 1, pairs.pieces).index_add_(0, camera, there.float())[..., None]
    means = parts.new_zeros(len(number), *parts.shape[1:]).index_add_(0, camera, parts) / number.clamp(min=1)
    overall = parts.sum(0) / there.sum(0).clamp(min=1)[:, None]
    means = torch.where(number > 1, means, overall)
    centred = torch.where(there[..., None], parts - means[camera], 0.0)
    features = F.normalize(centred.flatten(1))
    return replace(pairs, query=features[: len(pairs.query)], gallery=features[len(pairs.query) :])
