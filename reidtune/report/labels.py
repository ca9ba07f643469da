"""Where the names of points go, so that no name covers another, a point, or a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]  # left, top, right, bottom
_DISTANCES = (5.0, 14.0, 26.0, 42.0, 62.0, 86.0)  # pixels from the point to the name's box, tried in this order
_ANGLES = np.arange(16) * np.pi / 8
_PASSES = 4
_HARD, _SOFT = 1000.0, 40.0  # what it costs to cover a name or point, and a bar or line
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
    if not points:
        return []
    spots = [(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    firm, soft = _array([*spots, *taken]), _array(obstacles)
    around = [_around(point, size, frame, radius) for point, size in zip(points, sizes, strict=True)]
    standing = [
        distances + _HARD * _covered(boxes, firm) + _SOFT * _covered(boxes, soft) for boxes, distances in around
    ]  # what never moves
    chosen = np.full((len(points), 4), np.nan)  # the box of each name; what is not placed covers nothing
    best = [0] * len(points)
    for _ in range(_PASSES):
        before = chosen.copy()
        for place, (boxes, _) in enumerate(around):
            others = np.delete(chosen, place, axis=0)
            best[place] = int((standing[place] + _HARD * _covered(boxes, others)).argmin())
            chosen[place] = boxes[best[place]]
        if np.array_equal(chosen, before):
            break
    found = []
    for point, box, (_, distances), place in zip(points, chosen.tolist(), around, best, strict=True):
        tip = _nearest(box, point) if distances[place] > _FAR else None
        found.append(Placed((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, tip))
    return found


def quietest(boxes: Sequence[Box], occupied: Sequence[Box]) -> Box:
    """The first of ``boxes`` that covers least of what is ``occupied``."""
    return min(boxes, key=lambda box: sum(overlap(box, other) for other in occupied))


def overlap(one: Box, other: Box) -> float:
    """The area that both cover, in square pixels."""
    return float(_areas(_array([one]), _array([other]))[0, 0])


def _nearest(box: Sequence[float], point: tuple[float, float]) -> tuple[float, float]:
    """The point of a box that is nearest to ``point``."""
    return min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3])


def _around(point: tuple[float, float], size: tuple[float, float], frame: Box, radius: float) -> tuple[Array, Array]:
    """Boxes [N, 4] around a point, moved inside of ``frame``, and their distances [N] from it; the right side first."""
    distances, angles = np.repeat(_DISTANCES, len(_ANGLES)), np.tile(_ANGLES, len(_DISTANCES))
    half = np.array(size) / 2
    reach = (radius + distances)[:, None] + half
    centre = np.array(point) + np.stack([np.cos(angles), -np.sin(angles)], axis=1) * reach
    centre = np.maximum(np.minimum(centre, np.array(frame[2:]) - half), np.array(frame[:2]) + half)
    return np.concatenate([centre - half, centre + half], axis=1), distances


def _covered(boxes: Array, others: Array) -> Array:
    """How much each of ``boxes`` [N, 4] covers of all ``others`` [M, 4]: touching one counts, and then how much."""
    areas = _areas(boxes, others)
    found: Array = (np.minimum(1.0, areas) + areas / 100).sum(axis=1)
    return found


def _areas(boxes: Array, others: Array) -> Array:
    """The area [N, M] that two boxes have in common; of a box that is not there (NaN) nothing."""
    low, high = np.maximum(boxes[:, None, :2], others[None, :, :2]), np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = np.nan_to_num(np.maximum(high - low, 0.0))
    found: Array = sides[..., 0] * sides[..., 1]
    return found


def _array(boxes: Sequence[Box]) -> Array:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)
