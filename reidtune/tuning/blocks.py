"""Which blocks of a tower get a part: all, or only the last ones."""

from __future__ import annotations

from reidtune.backbone.tower import Tower
from reidtune.errors import SettingsError


def last_blocks(tower: Tower, count: int) -> range:
    """The last ``count`` blocks of ``tower``; all for 0.

    Raises:
        SettingsError: the tower has fewer.
    """
    if count > tower.layers:
        raise SettingsError(
            f"settings.blocks is {count}, but the {tower.kind} tower has {tower.layers} blocks.",
            f"Set it to at most {tower.layers}, or to 0 for all.",
        )
    return range(tower.layers - count if count else 0, tower.layers)
