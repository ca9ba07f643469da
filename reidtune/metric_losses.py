"""Metric losses that ``loss.metric`` names: what each is called, where it comes from, which settings it has.

Importing this costs nothing; :class:`reidtune.losses.metric.MetricLoss` computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from reidtune.errors import SettingsError, did_you_mean

LIBRARY = "pytorch_metric_learning"
INSTALL = "pip install 'reidtune[losses]'"


@dataclass(frozen=True)
class Bounds:
    """A number from ``low`` to ``high``, ``low`` itself allowed only where ``closed``, ``high`` only where
    ``closed_high``; ``default`` is the library's."""

    default: float
    low: float
    high: float = float("inf")
    closed: bool = False
    closed_high: bool = False

    def problem(self, value: Any) -> str:
        """What is wrong with ``value``; empty: nothing."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be a number, but is {value!r}"
        enough = self.low <= value if self.closed else self.low < value
        if enough and (value <= self.high if self.closed_high else value < self.high):
            return ""
        above = f"at least {self.low:g}" if self.closed else f"above {self.low:g}"
        below = "" if self.high == float("inf") else f" and {'at most' if self.closed_high else 'below'} {self.high:g}"
        return f"must be {above}{below}, but is {value:g}"


@dataclass(frozen=True)
class MetricLossPage:
    """One loss: its paper, its settings, the weight it has where none is given, and what a reader should know.

    ``pairs``: it compares the images of a batch and needs two of an identity; else it learns a vector (``proxies``)
    for each identity. ``raw``: it takes the feature as the tower gives it, else the L2-normalised one. ``own``: written
    here, the library has none."""

    name: str
    citation: str
    settings: Mapping[str, Bounds]
    pairs: bool = False
    raw: bool = False
    own: bool = False
    weight: float = 1.0
    note: str = ""


_SCALE = Bounds(64.0, 0)

METRIC_LOSSES: dict[str, MetricLossPage] = {
    page.name: page
    for page in (
        MetricLossPage(
            "circle",
            "Sun et al., Circle Loss, CVPR 2020, arXiv 2002.10857, Eq. 6-10",
            {"m": Bounds(0.4, 0, 1), "gamma": Bounds(80.0, 0)},
            pairs=True,
            note="for person ReID the paper has m = 0.25, gamma = 128",
        ),
        MetricLossPage(
            "supcon",
            "Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, arXiv 2004.11362, Eq. 2",
            {"temperature": Bounds(0.1, 0)},
            pairs=True,
        ),
        MetricLossPage(
            "multi-similarity",
            "Wang et al., Multi-Similarity Loss, CVPR 2019, arXiv 1904.06627, Eq. 10-15",
            {
                "alpha": Bounds(2.0, 0),
                "beta": Bounds(50.0, 0),
                "base": Bounds(0.5, -1, 1, closed=True),
                "epsilon": Bounds(0.1, 0, closed=True),
            },
            pairs=True,
            note="with the paper's mining of pairs, which the library has apart from the loss",
        ),
        MetricLossPage(
            "arcface",
            "Deng et al., ArcFace, CVPR 2019, arXiv 1801.07698, Eq. 3",
            {"margin": Bounds(28.6, 0, 180, closed=True), "scale": _SCALE},
            note="the margin is in degrees",
        ),
        MetricLossPage(
            "cosface",
            "Wang et al., CosFace, CVPR 2018, arXiv 1801.09414, Eq. 4",
            {"margin": Bounds(0.35, 0, 2, closed=True), "scale": _SCALE},
        ),
        MetricLossPage(
            "normalized-softmax",
            "Zhai and Wu, Classification is a Strong Baseline for Deep Metric Learning, BMVC 2019, arXiv 1811.12649",
            {"temperature": Bounds(0.05, 0)},
            note="without the paper's layer norm of the feature",
        ),
        MetricLossPage(
            "proxy-anchor",
            "Kim et al., Proxy Anchor Loss, CVPR 2020, arXiv 2003.13911, Eq. 4",
            {"margin": Bounds(0.1, 0, 2, closed=True), "alpha": Bounds(32.0, 0)},
        ),
        MetricLossPage(
            "center",
            "Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016, Eq. 2-4",
            {"alpha": Bounds(0.5, 0, 1, closed_high=True)},
            raw=True,
            own=True,
            weight=0.0005,
            note="beside an identity loss; the weight is that of Luo et al. 2019 for ReID",
        ),
    )
}

LEFT_OUT = {
    "proxy-nca": "the library counts the sample's own proxy in the denominator, which the paper does not, and so has "
    "normalized-softmax with temperature 1 / (2 softmax_scale)",
    "soft-triple": "the library lacks the paper's term that merges centres",
    "contrastive": "the library does not square distances and leaves pairs without a loss out of the mean",
    "triplet": "it is loss.triplet",
}
"""Losses that people may look for, and why they are not here."""


def check_name(name: str) -> str:
    """``name``; raises ``ValueError`` with the nearest where there is no such loss."""
    if name in METRIC_LOSSES:
        return name
    if reason := LEFT_OUT.get(name):
        raise ValueError(f'"{name}" is not offered: {reason}')
    known = ", ".join(METRIC_LOSSES)
    raise ValueError(f'unknown loss "{name}".{did_you_mean(name, METRIC_LOSSES)} Known: {known}')


def complete_settings(name: str, given: Mapping[str, Any]) -> dict[str, float]:
    """The settings of a loss with the library's defaults filled in; raises ``ValueError`` where one is wrong."""
    bounds = METRIC_LOSSES[name].settings
    for key, value in given.items():
        if key not in bounds:
            known = ", ".join(f"{one} = {bound.default:g}" for one, bound in bounds.items())
            raise ValueError(f'{name} has no setting "{key}".{did_you_mean(key, bounds)} Its settings: {known}')
        if problem := bounds[key].problem(value):
            raise ValueError(f"{key} of {name} {problem}")
    return {key: float(given.get(key, bound.default)) for key, bound in bounds.items()}


def check_installed(name: str | None) -> None:
    """Raise :class:`SettingsError` where the loss needs a package that is not installed."""
    if name is not None and not METRIC_LOSSES[name].own and find_spec(LIBRARY) is None:
        raise SettingsError(
            f"The loss {name} comes from pytorch-metric-learning, which is not installed.", f"Install it: {INSTALL}"
        )
