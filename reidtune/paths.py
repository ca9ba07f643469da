"""Where things are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$REIDTUNE_CACHE``, else ``$XDG_CACHE_HOME/reidtune``, else ``~/.cache/reidtune``; it may not exist yet."""
    if chosen := os.environ.get("REIDTUNE_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "reidtune"
