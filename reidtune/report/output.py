"""Files that a command leaves: checked before the work, written at once or not at all."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from PIL import Image

from reidtune.errors import ReidtuneError, SettingsError


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
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ReidtuneError(f"{path} could not be written: {error.strerror or error}.") from error
