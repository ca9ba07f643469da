"""Is it the same one? ROC, equal error rate and a threshold over all pairs of query and gallery, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reidtune.errors import DataError, SettingsError
from reidtune.retrieval.bootstrap import DRAWS, SEED, threshold_interval
from reidtune.retrieval.open_set import OpenSet, OpenSetCounter
from reidtune.retrieval.pairs import Pairs, make_pairs

RATES = (1e-2, 1e-3, 1e-4)
SUGGESTED = 1e-3
_CELLS = 2**20  # of scores between the lowest and the highest
_COARSE = 2**12  # of those, for each identity
_HISTOGRAMS = 2**24  # entries of all identities' coarse histograms


@dataclass(frozen=True)
class OperatingPoint:
    """Pairs are accepted from ``threshold`` on. ``tpr`` is the highest share of genuine pairs that a threshold accepts
    with at most the share ``fpr`` of impostor pairs. Both ``None`` where there are fewer than 1 / ``fpr`` impostors."""

    fpr: float
    tpr: float | None
    threshold: float | None


@dataclass(frozen=True)
class Decisions:
    """What a yes or no about a pair is worth. ``genuine`` and ``impostor`` count pairs; rates are fractions.

    ``points`` are at the false positive rates 1e-2, 1e-3 and 1e-4; ``suggested`` is at the chosen one, with the 95 %
    ``interval`` of its threshold over ``draws`` draws of the ``identities`` of queries (``None``: fewer than two have
    impostors, or the point cannot be measured). Thresholds are scores: cosines, as ``reidtune search`` gives them,
    unless others were asked for.
    """

    genuine: int
    impostor: int
    auc: float
    eer: float
    points: tuple[OperatingPoint, ...]
    suggested: OperatingPoint
    interval: tuple[float, float] | None
    identities: int
    draws: int
    seed: int
    open_set: OpenSet | None

    @property
    def threshold(self) -> float | None:
        """Accept a pair as one identity where its score is at least this."""
        return self.suggested.threshold

    def to_json(self) -> dict[str, Any]:
        def point(one: OperatingPoint) -> dict[str, Any]:
            return {"fpr": one.fpr, "tpr": one.tpr, "threshold": one.threshold}

        return {
            "pairs": {"genuine": self.genuine, "impostor": self.impostor},
            "auc": self.auc,
            "eer": self.eer,
            "roc": [point(one) for one in self.points],
            "suggested": {
                **point(self.suggested),
                "interval": None if self.interval is None else list(self.interval),
                "level": 0.95,
                "over": "query identities",
                "identities": self.identities,
                "draws": self.draws,
                "seed": self.seed,
            },
            "open_set": None if self.open_set is None else self.open_set.to_json(),
        }


def decisions(
    query: Any, gallery: Any, *, fpr: float = SUGGESTED, draws: int = DRAWS, seed: int = SEED, **labels: Any
) -> Decisions:
    """Decision metrics of a query set and a gallery; nothing is printed.

    Args:
        query: features [Q, D], and ``gallery`` [G, D], as for :func:`reidtune.rank`.
        fpr: the false positive rate of the suggested threshold.
        draws: of identities, for the interval of the threshold; ``seed`` draws those and the held-out identities.
        labels: of the arguments of :func:`reidtune.rank` these: ``query_ids``, ``gallery_ids``, ``query_cameras``,
            ``gallery_cameras``, ``query_rows``, ``gallery_rows``, ``protocol``, ``similarity``, ``pieces``.

    A pair is a query and a gallery item that the protocol counts for it: genuine where they are of one identity, else
    an impostor. A pair is accepted where its score is at least the threshold. All is exact for the fp32 scores, in the
    memory of one tile, the genuine scores and counts; the interval alone is read off histograms of 4,096 cells
    (fewer beyond 4,096 identities).

    AUC is the probability that a genuine pair scores higher than an impostor, ties counting half. The EER is where the
    ROC, of which tied scores are joined by straight lines, has as many false positives as false negatives, as shares.
    For the open set see :class:`reidtune.retrieval.open_set.OpenSetCounter`.

    Raises:
        SettingsError: arguments that do not fit, see :func:`reidtune.rank`; a rate that is not between 0 and 1.
        DataError: there is no genuine pair, or no impostor pair.
    """
    return decide(make_pairs(query, gallery, **labels), fpr=fpr, draws=draws, seed=seed)


def decide(pairs: Pairs, *, fpr: float = SUGGESTED, draws: int = DRAWS, seed: int = SEED) -> Decisions:
    """:func:`decisions` of pairs. Scores are computed twice: the genuine ones first, then the impostors between
    them."""
    if not 0 < fpr < 1:
        raise SettingsError(f"The false positive rate {fpr} is not between 0 and 1.", "Choose one such as 0.001.")
    if draws < 1:
        raise SettingsError(f"The number of draws is {draws}.", "Choose at least 1.")
    genuine, known, low, high, counted = [], torch.zeros(len(pairs.query), dtype=torch.bool), np.inf, -np.inf, 0
    for tile in pairs.tiles():
        positive, scores = tile.positive, tile.scores
        if tile.dropped is not None:
            positive = positive & ~tile.dropped
            counted -= int(tile.dropped.sum())
        counted += scores.numel()
        genuine.append(scores[positive].numpy())
        known[tile.part] = positive.any(1)
        low, high = min(low, float(scores.min())), max(high, float(scores.max()))
    curve = _Curve(np.concatenate(genuine), low, high)
    impostors = counted - curve.genuine
    if not (curve.genuine and impostors):
        kind = "of one identity" if impostors else "of different identities"
        raise DataError(f"Decisions need pairs of both kinds, but none is {kind}.", "Choose another protocol or data.")
    groups, group = torch.unique(pairs.query_ids, return_inverse=True)
    shift = (_CELLS // _COARSE).bit_length() - 1
    while len(groups) * (_CELLS >> shift) > _HISTOGRAMS and _CELLS >> shift > 64:
        shift += 1
    histograms = torch.zeros(len(groups), _CELLS >> shift, dtype=torch.float32)
    opened = OpenSetCounter(pairs, known, seed)
    for tile in pairs.tiles():
        other = tile.positive if tile.dropped is None else tile.positive | tile.dropped
        cells = curve.add(tile.scores.numpy(), other.numpy())
        coarse = cells >> shift
        for row, place in enumerate(group[tile.part].tolist()):
            counts = np.bincount(coarse[row], minlength=histograms.shape[1])
            counts -= np.bincount(coarse[row][other[row].numpy()], minlength=histograms.shape[1])
            histograms[place] += torch.from_numpy(counts)
        opened.add(tile)
    suggested = curve.point(fpr)
    interval = None
    if suggested.threshold is not None:
        interval = threshold_interval(histograms, fpr, lambda cell: curve.edge(cell * 2.0**shift), draws, seed)
    return Decisions(
        curve.genuine,
        impostors,
        *curve.areas(),
        tuple(curve.point(rate) for rate in RATES),
        suggested,
        interval,
        len(groups),
        draws,
        seed,
        opened.result(),
    )


class _Curve:
    """How many impostors lie between the genuine scores.

    Scores between ``low`` and ``high`` fall into cells. Nearly all cells hold no genuine score: there it is enough to
    count. Impostors in the other cells are compared with the genuine scores themselves.
    """

    def __init__(self, genuine: NDArray[np.float32], low: float, high: float) -> None:
        self.genuine = len(genuine)
        self.scores, self.number = np.unique(genuine, return_counts=True)  # [U], ascending
        self.low, self.high = np.float32(low), np.float32(high)
        scale = (_CELLS - 1) / (high - low) if high > low else 0.0
        # Scores that differ by denormal numbers alone need a scale beyond fp32.
        self.scale = np.float32(scale) if scale <= float(np.finfo(np.float32).max) else np.float64(scale)
        self.cells = np.zeros(_CELLS, np.int64)  # impostors
        self.between = np.zeros(len(self.scores) + 1, np.int64)  # impostors that reach so many of the genuine scores
        self.equal = np.zeros(len(self.scores), np.int64)
        self.mixed = np.zeros(_CELLS, np.bool_)
        self.mixed[self.cell(self.scores)] = True

    def cell(self, scores: Any) -> Any:
        """The cells (int32) of scores (float32). It never falls where scores rise, since no rounding does."""
        return np.clip((scores - self.low) * self.scale, 0, _CELLS - 1).astype(np.int32)

    def edge(self, cell: NDArray[np.float64]) -> NDArray[np.float64]:
        """About the lowest score of cells."""
        if not self.scale:
            return np.full_like(cell, self.low)
        return float(self.low) + cell / float(self.scale)

    def add(self, scores: NDArray[np.float32], other: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Count scores [q, G] but for ``other`` ones, and give their cells."""
        cells: NDArray[np.int32] = self.cell(scores)
        self.cells += np.bincount(cells.ravel(), minlength=_CELLS) - np.bincount(cells[other], minlength=_CELLS)
        near = self.mixed[cells]
        near &= ~other
        close = scores[near]
        reached = np.searchsorted(self.scores, close, side="right")
        self.between += np.bincount(reached, minlength=len(self.between))
        same = (reached > 0) & (self.scores[reached - 1] == close)
        self.equal += np.bincount(reached[same] - 1, minlength=len(self.equal))
        return cells

    def _reached(self) -> NDArray[np.int64]:
        """How many impostors reach exactly so many of the genuine scores: [U + 1]."""
        apart = np.flatnonzero(~self.mixed & (self.cells > 0))
        below = np.searchsorted(self.cell(self.scores), apart)
        between = self.between.copy()
        np.add.at(between, below, self.cells[apart])
        return between

    def _at_least(self) -> NDArray[np.int64]:
        """How many impostors score at least each genuine score: [U], descending."""
        return self._reached()[1:][::-1].cumsum()[::-1]

    def point(self, rate: float) -> OperatingPoint:
        total = int(self.cells.sum())
        if total * rate < 1 - 1e-9:
            return OperatingPoint(rate, None, None)
        allowed = int(total * rate + 1e-9)
        accepted = self._at_least() <= allowed
        tpr = float(self.number[accepted].sum() / self.genuine)
        threshold = self._above(allowed)
        if accepted.any():
            threshold = min(threshold, float(self.scores[accepted.argmax()]))
        return OperatingPoint(rate, tpr, threshold)

    def _above(self, allowed: int) -> float:
        """A score from which on at most ``allowed`` impostors lie: the lower edge of the first cell of which that
        holds, or what follows the highest score."""
        reached = self.cells[::-1].cumsum()[::-1]
        cell = int((reached > allowed).sum())
        if cell > self.cell(self.high):
            return float(np.nextafter(self.high, np.float32(np.inf)))
        score = np.float32(self.edge(np.array([float(cell)]))[0])
        while self.cell(score) < cell:  # the edge was rounded
            score += np.spacing(max(abs(self.low), abs(self.high)))
        return float(score)

    def areas(self) -> tuple[float, float]:
        """AUC and EER."""
        total = int(self.cells.sum())
        reached = self._reached()
        below = np.concatenate([[0], self.number.cumsum()])  # genuine ones lower than the 0th, 1st, … score
        higher = (reached * (self.genuine - below).astype(np.float64)).sum() + (self.equal * self.number / 2).sum()
        at_least = reached[1:][::-1].cumsum()  # best first
        more = at_least - self.equal[::-1]
        false = np.stack([more, at_least], axis=1).ravel() / total
        missed = np.stack([below[1:][::-1], below[:-1][::-1]], axis=1).ravel() / self.genuine
        false, missed = np.concatenate([[0], false, [1]]), np.concatenate([[1], missed, [0]])
        place = int((false >= missed).argmax())
        one, other = missed[place - 1] - false[place - 1], false[place] - missed[place]
        share = one / (one + other)
        eer = false[place - 1] + share * (false[place] - false[place - 1])
        return float(higher / (total * self.genuine)), float(eer)
