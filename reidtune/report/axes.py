"""Axes of a plot: which span of values is shown, and where its ticks are."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LEAST_FACTOR = 2.0  # a logarithmic axis spans at least this, so that what is nearly alike looks so
_ROOM = 0.09  # of the span, left free at either end
_MULTIPLES: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
)
_TICKS = (3, 6)  # about so many


def log_span(values: Sequence[float]) -> tuple[float, float]:
    """What an axis of the logarithm shows of positive ``values``: all, with some room."""
    low, high = (math.log10(min(values)), math.log10(max(values))) if values else (0.0, 1.0)
    missing = max(0.0, math.log10(_LEAST_FACTOR) - (high - low)) / 2
    low, high = low - missing, high + missing
    room = _ROOM * (high - low)
    return 10 ** (low - room), 10 ** (high + room)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within: powers of ten, or with multiples of them where those alone are too few."""
    found: list[float] = []
    for multiples in _MULTIPLES:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [multiple * 10.0**decade for decade in decades for multiple in multiples]
        found = [value for value in found if low <= value <= high]
        if len(found) >= _TICKS[0]:
            break
    return found[:: math.ceil(len(found) / (_TICKS[1] + 1))] if found else []


def linear_span(values: Sequence[float], least: float) -> tuple[float, float]:
    """What a linear axis shows of ``values``: all, at least ``least`` from end to end, with some room."""
    low, high = (min(values), max(values)) if values else (0.0, least)
    missing = max(0.0, least - (high - low)) / 2
    room = _ROOM * (high - low + 2 * missing)
    return low - missing - room, high + missing + room


def linear_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    step = 10.0 ** math.floor(math.log10((high - low) / _TICKS[0]))
    while (high - low) / step > _TICKS[1]:
        step *= 2.5 if round(step / 10 ** math.floor(math.log10(step))) == 2 else 2
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]
