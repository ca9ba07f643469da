"""The formats that a delta can be exported to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reidtune.errors import SettingsError, did_you_mean
from reidtune.model import load

FORMATS = ("open_clip", "low-rank", "half")


def export_delta(
    delta: Path,
    to: str,
    output: Path,
    *,
    backbone: str | None = None,
    pretrained: str | None = None,
    rank: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Export a delta; see the format's own module for what it writes and raises. ``rank`` is that of ``low-rank``.

    Raises:
        SettingsError: an unknown format.
    """
    if to not in FORMATS:
        raise SettingsError(
            f'Unknown export format "{to}".{did_you_mean(to, FORMATS)}', f"Known formats: {', '.join(FORMATS)}."
        )
    if rank is not None and to != "low-rank":
        raise SettingsError(f"--rank has no meaning for {to}.", "Use --to low-rank.")
    if to in ("low-rank", "half"):
        from reidtune.export.smaller import DEFAULT_RANK, export_half, export_low_rank

        if to == "half":
            return export_half(delta, output, force)
        return export_low_rank(delta, output, DEFAULT_RANK if rank is None else rank, force)
    from reidtune.export.open_clip import export_open_clip

    return export_open_clip(load(delta, backbone=backbone, pretrained=pretrained), output, force)
