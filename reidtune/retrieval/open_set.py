"""Open-set identification: is the person in the gallery at all, and if so, who is it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reidtune.retrieval.pairs import Pairs, Tile

RATES = (0.01, 0.1)
HELD_OUT = 0.2  # of the identities
_ENOUGH = 0.1  # of the queries being unknown, nothing is held out


@dataclass(frozen=True)
class OpenSet:
    """``known`` and ``unknown`` count queries, ``held_out`` the identities whose gallery images were taken out to make
    some unknown. ``rank_1`` is of the known ones at any score, ``rates`` has (false alarm rate, detection and
    identification rate, threshold), the last two ``None`` where too few are unknown to measure it."""

    known: int
    unknown: int
    held_out: int
    seed: int
    rank_1: float
    rates: tuple[tuple[float, float | None, float | None], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "known": self.known,
            "unknown": self.unknown,
            "held_out_identities": self.held_out,
            "seed": self.seed,
            "rank-1": self.rank_1,
            "rates": [{"far": far, "dir": found, "threshold": threshold} for far, found, threshold in self.rates],
        }


class OpenSetCounter:
    """The best counted gallery item of every query, with held-out identities taken from the gallery.

    A query is unknown where the gallery has no positive for it that counts. Where less than a tenth of the queries are,
    a fifth of the other identities is held out, drawn by ``seed``.
    """

    def __init__(self, pairs: Pairs, known: Tensor, seed: int) -> None:
        self.pairs, self.seed = pairs, seed
        identities = torch.unique(pairs.query_ids[known])
        out = torch.empty(0, dtype=torch.int64)
        if (~known).sum() < _ENOUGH * len(known) and len(identities) > 1:
            number = max(1, round(HELD_OUT * len(identities)))
            order = np.random.default_rng(seed).permutation(len(identities))[:number]
            out = identities[torch.from_numpy(order)]
        self.held_out = len(out)
        self.known = known & ~torch.isin(pairs.query_ids, out)
        self.gone = torch.isin(pairs.gallery_ids, out)
        self.best = torch.full((len(known),), -torch.inf, dtype=torch.float32)
        self.right = torch.zeros(len(known), dtype=torch.bool)

    def add(self, tile: Tile) -> None:
        out = self.gone[None, :] if tile.dropped is None else tile.dropped | self.gone[None, :]
        best, place = tile.scores.masked_fill(out, -torch.inf).max(1)  # of equal scores the first
        self.best[tile.part] = best
        self.right[tile.part] = tile.positive.gather(1, place[:, None])[:, 0] & (best > -torch.inf)

    def result(self) -> OpenSet | None:
        """``None`` where all queries are known, or all unknown, and nothing can be held out."""
        known, unknown = int(self.known.sum()), int((~self.known).sum())
        if not (known and unknown):
            return None
        alarms = self.best[~self.known].sort(descending=True).values
        hits = self.best[self.known & self.right]
        rates: list[tuple[float, float | None, float | None]] = []
        for rate in RATES:
            allowed = int(rate * unknown + 1e-9)
            if allowed < 1:
                rates.append((rate, None, None))
                continue
            threshold = float(np.nextafter(np.float32(alarms[allowed]), np.float32(np.inf)))
            rates.append((rate, int((hits >= threshold).sum()) / known, threshold))
        return OpenSet(known, unknown, self.held_out, self.seed, len(hits) / known, tuple(rates))
