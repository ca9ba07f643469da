"""Numbers in words: bytes (and back), percents."""

from __future__ import annotations

import re

_UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_bytes(text: str) -> int:
    """``"8GB"``, ``"7.5 GiB"``, ``"8000000000"`` → bytes; raises ``ValueError`` for anything else, also for a small
    number without its unit."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B?)", text.strip().upper())
    unit = match and _UNITS.get(match[2] if match[2].endswith("B") else f"{match[2]}B" if match[2] else "B")
    if not match or not unit or float(match[1]) <= 0 or (not match[2] and float(match[1]) < 1e6):
        raise ValueError(f'must be an amount of memory with its unit, such as "8GB", but is {text!r}')
    return int(float(match[1]) * unit)


def format_bytes(count: float) -> str:
    """``1.2 MB``: powers of ten, one decimal below 100. For tables."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB" if count < 99.95 else f"{count:,.0f} GB"


def precise_bytes(count: float) -> str:
    """``5.43 GB``: powers of ten, three digits. For what is held against a limit."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= one:
            return f"{count / one:.3g} {unit}"
    return f"{count:.0f} bytes"


def percent(fraction: float | None) -> str:
    """``73.1`` of 0.731, a dash of ``None``. For tables."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"
