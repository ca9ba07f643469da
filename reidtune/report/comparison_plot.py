"""Where everything of the four plots of a comparison stands, for the picture and for the page alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from reidtune.report.axes import linear_span, linear_ticks, log_span, log_ticks
from reidtune.report.comparison_cells import COSTS, cost_text, headings_of, spread, unit_of
from reidtune.report.labels import Box, Placed, place_labels, quietest
from reidtune.units import format_bytes

WIDTH, HEIGHT = 500, 350  # of a panel, in pixels
FRAME: Box = (54, 32, WIDTH - 16, HEIGHT - 44)  # the field of its points
RADIUS = 5.0  # of a point
LINE_HEIGHT = 14.0
_LONGEST_LABEL = 26  # letters
_LEAST_SPAN = 4.0  # points of mAP

TITLES = {
    "parameters": "trainable parameters",
    "bytes": "bytes of the delta file",
    "activation_bytes": "activation bytes kept for one {one}",
    "images_per_second": "{one}s a second while training (more is better)",
}
# Colours that people with any kind of colour vision tell apart, dark enough for names on white; see SHAPES, too.
COLOURS = ("#0068a8", "#c04a00", "#007a5a", "#a8508a", "#8a6d00", "#5a4fcf", "#b02a37", "#4d7c0f", "#0e7490", "#6b5b4b")
SHAPES = ("circle", "square", "triangle", "diamond")


@dataclass(frozen=True)
class Mark:
    """A row in a panel: its point, the ends of its error bar (``None`` of one seed), and where its name stands."""

    name: str
    label: str
    colour: str
    shape: str
    x: float
    y: float
    bar: tuple[float, float] | None
    front: bool
    place: Placed
    told: str


@dataclass(frozen=True)
class Panel:
    """One plot, in pixels from its own top left corner. ``stairs`` is the Pareto front, ``baseline`` the height of the
    backbone alone, whose label begins on the left at half its height."""

    cost: str
    title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    baseline: float
    baseline_label: tuple[float, float, str]
    marks: list[Mark]
    stairs: list[tuple[float, float]]


def panels_of(content: Mapping[str, Any], measure: Callable[[str], float]) -> list[Panel]:
    """A panel for each cost: mAP in percent by its logarithm. ``measure`` says how many pixels wide a name is."""
    rows = [row for row in content["rows"] if row["mAP"] is not None]
    zero = 100 * content["baseline"]["tests"][0]["metrics"]["mAP"]
    ends = [100 * (row["mAP"]["mean"] + sign * (row["mAP"]["deviation"] or 0)) for row in rows for sign in (-1, 1)]
    span = linear_span([zero, *ends], _LEAST_SPAN)
    return [_panel(content, cost, rows, zero, span, unit_of(content), measure) for cost in COSTS]


def looks(content: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Colour and shape of each row, by its name: those of its place in ``content``."""
    return {
        row["name"]: (COLOURS[place % len(COLOURS)], SHAPES[place % len(SHAPES)])
        for place, row in enumerate(content["rows"])
    }


def _panel(
    content: Mapping[str, Any],
    cost: str,
    rows: Sequence[Mapping[str, Any]],
    zero: float,
    span: tuple[float, float],
    one: str,
    measure: Callable[[str], float],
) -> Panel:
    shown = [row for row in rows if row[cost]]
    low, high = log_span([row[cost] for row in shown])
    left, top, right, bottom = FRAME

    def across(value: float) -> float:
        return left + (right - left) * math.log(value / low) / math.log(high / low)

    def up(percent: float) -> float:
        return bottom - (bottom - top) * (percent - span[0]) / (span[1] - span[0])

    points = [(across(row[cost]), up(100 * row["mAP"]["mean"])) for row in shown]
    bars = [_bar(row, up) for row in shown]
    labels = [_short(row["name"]) for row in shown]
    sizes = [(measure(label) + 4, LINE_HEIGHT) for label in labels]
    baseline, baseline_label = up(zero), f"{content['baseline']['name']} {zero:.1f}"
    obstacles: list[Box] = [(x - 3, bar[1], x + 3, bar[0]) for (x, _), bar in zip(points, bars, strict=True) if bar]
    front = [point for point, row in zip(points, shown, strict=True) if cost in row["front"]]
    stairs = _stairs(front, more_is_better=cost == "images_per_second")
    spots = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in points]
    wide = measure(baseline_label) + 4
    corner = quietest(
        [
            (x, y, x + wide, y + LINE_HEIGHT)
            for y in (baseline - LINE_HEIGHT - 1, baseline + 1)
            for x in (left + 4, right - wide - 2)
        ],
        [*obstacles, *spots, *_segments(stairs)],
    )
    obstacles += [(left, baseline - 2, right, baseline + 2), *_segments(stairs)]
    places = place_labels(points, sizes, FRAME, obstacles, RADIUS + 1, [corner])
    look = looks(content)
    heading = headings_of(content)[-len(COSTS) :][COSTS.index(cost)]
    marks = [
        Mark(
            name=row["name"],
            label=label,
            colour=look[row["name"]][0],
            shape=look[row["name"]][1],
            x=x,
            y=y,
            bar=bar,
            front=cost in row["front"],
            place=place,
            told=f"{row['name']}: mAP {spread(row['mAP'])}, {heading} {cost_text(row, cost)}",
        )
        for row, label, (x, y), bar, place in zip(shown, labels, points, bars, places, strict=True)
    ]
    return Panel(
        cost=cost,
        title=TITLES[cost].format(one=one),
        x_ticks=[(across(value), _tick(value, cost)) for value in log_ticks(low, high)] if shown else [],
        y_ticks=[(up(value), f"{value:g}") for value in linear_ticks(*span)],
        baseline=baseline,
        baseline_label=(corner[0], (corner[1] + corner[3]) / 2, baseline_label),
        marks=marks,
        stairs=stairs,
    )


def _bar(row: Mapping[str, Any], up: Callable[[float], float]) -> tuple[float, float] | None:
    mean, deviation = row["mAP"]["mean"], row["mAP"]["deviation"]
    return None if deviation is None else (up(100 * (mean - deviation)), up(100 * (mean + deviation)))


def _stairs(points: Sequence[tuple[float, float]], more_is_better: bool) -> list[tuple[float, float]]:
    """The edge of what the front reaches: from its cheapest point to its best one, then to the end of the frame."""
    ordered = sorted(set(points), reverse=more_is_better)
    if not ordered:
        return []
    path = [ordered[0]]
    for x, y in ordered[1:]:
        path += [(x, path[-1][1]), (x, y)]
    return [*path, (FRAME[0] if more_is_better else FRAME[2], path[-1][1])]


def _segments(path: Sequence[tuple[float, float]]) -> list[Box]:
    """Each line of a path as a thin box."""
    return [
        (min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1) for a, b in pairwise(path)
    ]


def _tick(value: float, cost: str) -> str:
    if cost in ("bytes", "activation_bytes"):
        return format_bytes(value).replace(".0 ", " ")
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size * 0.9999 and cost == "parameters":
            return f"{value / size:g}{unit}"
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"
