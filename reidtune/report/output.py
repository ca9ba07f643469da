"""Files that a command leaves: checked before the work, written at once or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from reidtune.errors import SettingsError
from reidtune.files import not_written, write_whole


def check_output(path: Path, force: bool) -> None:
    """Raise :class:`SettingsError` where :func:`write_result` to ``path`` would fail or replace a file unasked, which
    is better known before the work than after it."""
    if path.is_dir():
        raise SettingsError(f"--output {path} is a folder.", "Give a file.")
    if path.exists() and not force:
        raise SettingsError(f"--output {path} exists.", "Choose another file, or replace it with --force.")


def check_sheet(path: Path) -> None:
    """Raise :class:`SettingsError` where a picture of that name cannot be written."""
    if path.is_dir():
        raise SettingsError(f"--sheet {path} is a folder.", "Give a .png file.")
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise SettingsError(f"--sheet {path}: {path.suffix or 'no ending'} is no kind of picture.", "Use a .png file.")


def write_result(result: dict[str, Any], path: Path) -> None:
    """Write a result as JSON, atomically.

    Raises:
        ReidtuneError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(result, indent=2) + "\n")
    except OSError as error:
        raise not_written(path, error, "Make room or choose another file, and run the command again.") from error
