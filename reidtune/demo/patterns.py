"""Stripes, checks and dots on the upper garment of a part map."""

from __future__ import annotations

from math import cos

import numpy as np
from numpy.typing import NDArray

from reidtune.demo.figure import PART, SHADE, Place, Pose
from reidtune.demo.people import Person


def paint_pattern(parts: NDArray[np.uint8], person: Person, pose: Pose, place: Place) -> None:
    """Turn ``upper`` into ``upper_second`` where the pattern of the upper garment shows its second colour; in place."""
    item = person.upper
    if item.pattern in ("plain", "logo"):
        return
    top, low = (round(place.top + y * place.height) for y in (0.13, 0.76))
    top, low = max(top, 0), min(low, parts.shape[0])
    if low <= top:
        return
    window = parts[top:low]
    y = ((np.arange(top, low, dtype=np.float32) - place.top) / place.height)[:, None]
    x = ((np.arange(parts.shape[1], dtype=np.float32) - place.middle) / place.height)[None, :]
    squeeze = max(0.45, abs(cos(pose.yaw)))  # vertical lines crowd together when the body turns away
    u, v = x / (item.period * squeeze) + 0.25, y / item.period
    where: NDArray[np.bool_]
    if item.pattern == "stripes":
        where = np.broadcast_to(v % 1.0 < 0.45, window.shape)
    elif item.pattern == "vertical stripes":
        where = np.broadcast_to(u % 1.0 < 0.4, window.shape)
    elif item.pattern == "checks":
        where = (u % 1.0 < 0.5) ^ (v % 1.0 < 0.5)
    elif item.pattern == "dots":
        where = ((u % 1.0 - 0.5) ** 2 + (v % 1.0 - 0.5) ** 2) < 0.075
    else:
        where = np.broadcast_to(y < 0.30, window.shape)
    garment = (window & (SHADE - 1)) == PART["upper"]
    window[garment & where] += PART["upper_second"] - PART["upper"]
