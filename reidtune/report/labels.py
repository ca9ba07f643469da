"""Where the names of points go, so that no name covers another, a point, or a bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]  # left, top, right, bottom
_DISTANCES = (5.0, 14.0, 26.0, 42.0, 62.0, 86.0)  # pixels from the point to the name's box, tried in this order
_ANGLES = [math.pi * place / 8 for place in range(16)]
_PASSES = 4
_FAR = 10.0  # a name further away has a line to its point


@dataclass(frozen=True)
class Placed:
    """The centre of a name, and where on its edge a line from its point ends; none where it stands beside it."""

    x: float
    y: float
    tip: tuple[float, float] | None


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    obstacles: Sequence[Box] = (),
    radius: float = 5.0,
    taken: Sequence[Box] = (),
) -> list[Placed]:
    """A place for each name of a point, of this width and height in pixels, inside of ``frame``.

    Each name takes the nearest of some places around its point that cost least: covering another name, a point
    (``radius``) or what is ``taken`` costs much, an obstacle less. Then names are moved again, each in view of all
    others, until none moves. With too many points something is covered, as little as can be found this way.
    """
    spots = [(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    chosen: list[tuple[float, float, float] | None] = [None] * len(points)
    for _ in range(_PASSES):
        before = list(chosen)
        for place, (point, size) in enumerate(zip(points, sizes, strict=True)):
            others = [_box(other, sizes[number]) for number, other in enumerate(chosen) if other and number != place]
            candidates = _around(point, size, frame, radius)
            chosen[place] = min(
                candidates,
                key=lambda spot: _cost(_box(spot, size), [*others, *spots, *taken], obstacles) + spot[2],
            )
        if chosen == before:
            break
    found = []
    for point, size, spot in zip(points, sizes, chosen, strict=True):
        assert spot is not None
        found.append(Placed(spot[0], spot[1], _nearest(_box(spot, size), point) if spot[2] > _FAR else None))
    return found


def quietest(boxes: Sequence[Box], occupied: Sequence[Box]) -> Box:
    """The first of ``boxes`` that covers least of what is ``occupied``."""
    return min(boxes, key=lambda box: sum(overlap(box, other) for other in occupied))


def _nearest(box: Box, point: tuple[float, float]) -> tuple[float, float]:
    """The point of a box that is nearest to ``point``."""
    return min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3])


def _around(
    point: tuple[float, float], size: tuple[float, float], frame: Box, radius: float
) -> list[tuple[float, float, float]]:
    """Centres of boxes around a point, moved inside of ``frame``, with their distance from it; the right side first."""
    found = []
    for distance in _DISTANCES:
        for angle in _ANGLES:
            reach = radius + distance
            x = point[0] + math.cos(angle) * (reach + size[0] / 2)
            y = point[1] - math.sin(angle) * (reach + size[1] / 2)
            x = min(max(x, frame[0] + size[0] / 2), frame[2] - size[0] / 2)
            y = min(max(y, frame[1] + size[1] / 2), frame[3] - size[1] / 2)
            found.append((x, y, distance))
    return found


def _box(centre: tuple[float, ...], size: tuple[float, float]) -> Box:
    return (centre[0] - size[0] / 2, centre[1] - size[1] / 2, centre[0] + size[0] / 2, centre[1] + size[1] / 2)


def _cost(box: Box, hard: Sequence[Box], soft: Sequence[Box]) -> float:
    """Names and points weigh more than bars and lines; touching at all counts, and then how much."""
    return sum(
        weight * (min(1.0, area) + area / 100)
        for weight, others in ((1000, hard), (40, soft))
        for other in others
        if (area := overlap(box, other)) > 0
    )


def overlap(one: Box, other: Box) -> float:
    """The area that both cover, in square pixels."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0
