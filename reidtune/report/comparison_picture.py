"""The four plots of a comparison as a picture, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from reidtune.report.comparison_cells import budget_of
from reidtune.report.comparison_plot import FRAME, HEIGHT, RADIUS, WIDTH, Mark, Panel, panels_of
from reidtune.report.pictures import wrap
from reidtune.report.tables import visible

SCALE = 2  # pixels of the picture for one of a panel
_FINE = 2  # drawn this much larger still, for smooth edges
_HEAD = 62
_INK, _SOFT, _LINE, _FRONT = "#1c1c1a", "#5f5f5a", "#e2e2dd", "#b9b9b2"
LABEL_SIZE = 12.0


def measure_label(text: str) -> float:
    """How many pixels of a panel a name is wide."""
    return ImageFont.load_default(LABEL_SIZE * SCALE * _FINE).getlength(text) / (SCALE * _FINE)


def comparison_picture(content: Mapping[str, Any]) -> Image.Image:
    """mAP on the test split by each of the four costs: a point a row with its standard deviation over the seeds, filled
    on the Pareto front; the dashed line is the backbone alone."""
    pen = _Pen(2 * WIDTH, 2 * HEIGHT + _HEAD)
    name = ", ".join(content["data"]["names"])
    backbone = content["backbone"]["name"]
    pen.text(FRAME[0], 12, visible(f"Test mAP on {name}, backbone {backbone}"), 17, _INK, "la")
    wide = round((2 * WIDTH - FRAME[0] - 20) * pen.size)
    line = wrap(visible(budget_of(content)), pen.font(12), wide, 1)
    seeds = len(content["seeds"])
    fewer = any(0 < len(row["seeds"]) < seeds for row in content["rows"])
    bars = f"Bars: ± standard deviation over {'up to ' * fewer}{seeds} seeds. " if seeds > 1 else ""
    pen.text(FRAME[0], 34, "".join(line), 12, _SOFT, "la")
    missing = [row["name"] for row in content["rows"] if row["mAP"] is None]
    absent = f" Not there: {', '.join(missing)}." if missing else ""
    told = wrap(visible(f"{bars}Filled points and the stairs: the Pareto front.{absent}"), pen.font(12), wide, 1)
    pen.text(FRAME[0], 49, "".join(told), 12, _SOFT, "la")
    for place, panel in enumerate(panels_of(content, measure_label)):
        pen.left, pen.top = WIDTH * (place % 2), _HEAD + HEIGHT * (place // 2)
        _draw(pen, panel)
    return pen.picture.reduce(_FINE)


class _Pen:
    """Draws in pixels of a panel, from ``left`` and ``top`` on."""

    def __init__(self, width: int, height: int) -> None:
        self.size = SCALE * _FINE
        self.left, self.top = 0, 0
        self.picture = Image.new("RGB", (width * self.size, height * self.size), "white")
        self._draw = ImageDraw.Draw(self.picture)

    def font(self, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(size * self.size)

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (self.left + x) * self.size, (self.top + y) * self.size

    def line(self, points: list[tuple[float, float]], colour: str, width: float = 1.0) -> None:
        self._draw.line([self.at(*point) for point in points], colour, round(width * self.size), joint="curve")

    def dashed(self, left: float, right: float, y: float, colour: str) -> None:
        x = left
        while x < right:
            self.line([(x, y), (min(x + 5, right), y)], colour, 1.2)
            x += 9

    def text(self, x: float, y: float, words: str, size: float, colour: str, anchor: str, halo: bool = False) -> None:
        edge = 3 * self.size // 2 if halo else 0
        font = self.font(size)
        self._draw.text(self.at(x, y), words, colour, font, anchor, stroke_width=edge, stroke_fill="white")

    def shape(self, mark: Mark) -> None:
        r, x, y = RADIUS, mark.x, mark.y
        fill, width = mark.colour if mark.front else "white", round(1.8 * self.size)
        if mark.shape == "circle":
            box = [*self.at(x - r, y - r), *self.at(x + r, y + r)]
            self._draw.ellipse(box, fill, mark.colour, width)
            return
        points = [self.at(x + dx * r, y + dy * r) for dx, dy in CORNERS[mark.shape]]
        self._draw.polygon(points, fill)
        self._draw.line([*points, points[0], points[1]], mark.colour, width, joint="curve")


CORNERS = {
    "square": ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
    "triangle": ((0.0, -1.1), (1.05, 0.8), (-1.05, 0.8)),
    "diamond": ((0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)),
}
"""Corners of the shapes of points, in radii."""


def _draw(pen: _Pen, panel: Panel) -> None:
    left, top, right, bottom = FRAME
    for y, words in panel.y_ticks:
        pen.line([(left, y), (right, y)], _LINE)
        pen.text(left - 7, y, words, 11, _SOFT, "rm")
    for x, words in panel.x_ticks:
        pen.line([(x, top), (x, bottom)], _LINE)
        pen.text(x, bottom + 6, words, 11, _SOFT, "ma")
    pen.line([(left, top), (left, bottom), (right, bottom)], _SOFT)
    pen.text(left - 30, top - 10, "mAP, %", 11, _SOFT, "ls")
    pen.text((left + right) / 2, bottom + 24, panel.title, 12, _INK, "ma")
    pen.dashed(left, right, panel.baseline, _SOFT)
    if len(panel.stairs) > 1:
        pen.line(panel.stairs, _FRONT, 1.5)
    for mark in panel.marks:
        if mark.place.tip is not None:
            pen.line([(mark.x, mark.y), mark.place.tip], mark.colour, 0.6)
    for mark in panel.marks:
        if mark.bar is not None:
            low, high = mark.bar
            pen.line([(mark.x, low), (mark.x, high)], mark.colour, 1.4)
            for y in mark.bar:
                pen.line([(mark.x - 3, y), (mark.x + 3, y)], mark.colour, 1.4)
    x, y, words = panel.baseline_label
    pen.text(x, y, words, LABEL_SIZE - 1, _SOFT, "lm", halo=True)
    for mark in panel.marks:
        pen.shape(mark)
    for mark in panel.marks:
        pen.text(mark.place.x, mark.place.y, visible(mark.label), LABEL_SIZE, mark.colour, "mm", halo=True)
