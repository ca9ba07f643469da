"""What every open_clip architecture is: which towers are supported or why not, sizes, tags.

The list is shipped for one version of open_clip and timm (``catalogue.json``); with other versions it is computed once
and kept in the cache folder. Reading it imports neither torch nor open_clip.

``python -m reidtune.backbone.catalogue`` writes the shipped list again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from reidtune.errors import SettingsError, did_you_mean
from reidtune.paths import cache_folder

SCHEMA = 1
_SHIPPED = "catalogue.json"
_PACKAGES = {"open_clip": "open_clip_torch", "timm": "timm"}

Count = Callable[[int, int], None]


def versions() -> dict[str, str]:
    """The installed packages that the list depends on."""
    return {name: version(package) for name, package in _PACKAGES.items()}


def catalogue(progress: Count | None = None) -> list[dict[str, Any]]:
    """A row for every architecture of the installed open_clip, as ``reidtune backbones --json`` prints it.

    ``progress`` gets (rows done, in all) where the list has to be computed, which takes about a minute: every model is
    built without memory (on torch's meta device).
    """
    installed = versions()
    cached = cache_folder() / f"backbones-{installed['open_clip']}-{installed['timm']}.json"
    for source in (files("reidtune.backbone") / _SHIPPED, cached):
        if (rows := _read(source, installed)) is not None:
            return rows
    rows = compute(progress=progress)
    _write(cached, installed, rows)
    return rows


def chosen(rows: list[dict[str, Any]], name: str | None, supported: bool) -> list[dict[str, Any]]:
    """The rows whose names contain ``name``; with ``supported`` those with an image tower alone.

    Raises:
        SettingsError: there is none.
    """
    asked = (name or "").replace("/", "-").lower()
    found = [row for row in rows if asked in row["name"].lower()]
    kept = [row for row in found if row["image"]["supported"] or not supported]
    if kept:
        return kept
    if found:
        reasons = "; ".join(dict.fromkeys(row["image"]["reason"] for row in found))
        raise SettingsError(f'No architecture with "{name}" in its name has an image tower here: {reasons}.')
    raise SettingsError(
        f'open_clip has no architecture with "{name}" in its name.'
        f"{did_you_mean(name or '', [row['name'] for row in rows])}",
        "See them all: reidtune backbones",
    )


def compute(names: list[str] | None = None, progress: Count | None = None) -> list[dict[str, Any]]:
    """The rows of these architectures (all of open_clip's) from the installed packages."""
    import open_clip

    from reidtune.backbone.census import row_of

    chosen = open_clip.list_models() if names is None else names
    rows = []
    for place, name in enumerate(chosen, 1):
        rows.append(row_of(name))
        if progress is not None:
            progress(place, len(chosen))
    return rows


def _read(source: Any, installed: dict[str, str]) -> list[dict[str, Any]] | None:
    """The rows of a list for exactly these versions; ``None`` where it is for others, damaged or missing."""
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA or content["versions"] != installed:
            return None
        rows: list[dict[str, Any]] = content["rows"]
        return rows
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, installed: dict[str, str], rows: list[dict[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    head = f'"schema": {SCHEMA},\n"versions": {json.dumps(installed)}'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(f'{{{head},\n"rows": [\n{lines}\n]}}\n', encoding="utf-8")
        temporary.replace(path)
    except OSError:
        pass  # a cache that cannot be written costs time, nothing else


if __name__ == "__main__":
    _write(Path(__file__).with_name(_SHIPPED), versions(), compute())
