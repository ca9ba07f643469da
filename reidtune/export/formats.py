"""The formats that a delta can be exported to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reidtune.errors import SettingsError, did_you_mean
from reidtune.model import load

FORMATS = ("open_clip",)


def export_delta(
    delta: Path,
    to: str,
    output: Path,
    *,
    backbone: str | None = None,
    pretrained: str | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Export a delta; see the format's own module for what it writes and raises.

    Raises:
        SettingsError: an unknown format.
    """
    if to not in FORMATS:
        raise SettingsError(
            f'Unknown export format "{to}".{did_you_mean(to, FORMATS)}', f"Known formats: {', '.join(FORMATS)}."
        )
    from reidtune.export.open_clip import export_open_clip

    return export_open_clip(load(delta, backbone=backbone, pretrained=pretrained), output, force)
