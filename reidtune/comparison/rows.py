"""The rows of a comparison: which method, and what each row sets for itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reidtune.config import parse_set
from reidtune.errors import SettingsError
from reidtune.methods.registry import find_method, method_names
from reidtune.recipes.find import read_recipe, recipe_names

BASELINE = "zero-shot"
ALL = "all"
DEFAULTS = {
    "image": ("lora", "adapter", "vpt", "linear"),
    "text": ("lora", "adapter", "dm-adapter", "cskt"),
    "multimodal": ("lora", "adapter", "dmpt", "mambapro"),
}
"""Without a choice, these are compared: training all methods would take a day where someone wanted a look."""
SHARED = ("backbone", "data", "training")
"""Sections that are the same for all rows. A row's own are its method, settings, loss, optimiser and augmentation."""


@dataclass(frozen=True)
class Row:
    """One row: its ``name``, a ``recipe`` (``None``: the one shipped with its method) and, by dotted name, what it
    sets over that; ``method`` is among them unless the recipe says it."""

    name: str
    method: str
    recipe: str | None = None
    flags: dict[str, Any] = field(default_factory=dict)

    def folder(self, seed: int) -> str:
        """The run folder's name."""
        name = re.sub(r"[^\w.-]+", "-", self.name).strip("-.")
        return f"{name}-seed{seed}"


def find_rows(methods: Sequence[str], recipes: Sequence[str], task: str) -> list[Row]:
    """The rows that ``--methods`` and ``--recipe`` name, in that order; without any, those of :data:`DEFAULTS`.

    A method is ``NAME`` or ``NAME:key=value,…``; a key without a section is one of the method's own settings. Several
    may stand in one text with commas between. ``all`` is every method for data of ``task``. The baseline is no row.

    Raises:
        SettingsError: an unknown method or recipe, one for other data, the same row twice, or a row that sets what all
            rows share.
    """
    rows: list[Row] = []
    for text in methods or (() if recipes else DEFAULTS[task]):
        for item in _items(text):
            rows += (
                [Row(name, name, flags={"method": name}) for name in _fitting(task)] if item == ALL else [_row(item)]
            )
    for recipe in recipes:
        method = str(read_recipe(recipe).get("method", "lora"))
        rows.append(Row(recipe if recipe in recipe_names() else Path(recipe).resolve().stem, method, recipe))
    rows = [row for row in rows if row.method != BASELINE]
    if not rows:
        raise SettingsError(f"There is nothing to train: {BASELINE} is always the first row.", "Name a method.")
    folders: dict[str, Row] = {}
    for row in rows:
        tasks = find_method(row.method).tasks
        if task not in tasks:
            raise SettingsError(
                f"The method {row.method} is for {' and '.join(tasks)} data, but this is {task} data.",
                f"For this data: {', '.join(_fitting(task))}.",
            )
        if (other := folders.setdefault(row.folder(0), row)) is not row:
            both = row.name if row.name == other.name else f"{other.name} and {row.name}"
            raise SettingsError(
                f"Two rows are called alike: {both}.",
                "Leave one out, or give one of them as --recipe FILE; it is called after the file.",
            )
    return rows


def _fitting(task: str) -> list[str]:
    return [name for name in method_names() if name != BASELINE and task in find_method(name).tasks]


def _row(item: str) -> Row:
    method, colon, rest = item.partition(":")
    find_method(method)  # says what is near to a name that does not exist
    own = parse_set(text if "." in text.partition("=")[0] else f"settings.{text}" for text in _split(rest) if text)
    for name in own:
        if name.partition(".")[0] in SHARED:
            raise SettingsError(
                f"{item} sets {name}, which is the same for all rows.", f"Set it for all: --set {name}={own[name]}"
            )
    if colon and not own:
        raise SettingsError(f"{item} sets nothing.", f"For example: {method}, or {method}:optimiser.lr=1e-3")
    return Row(item, method, flags={"method": method, **own})


def _items(text: str) -> list[str]:
    """``lora:rank=16,alpha=16,vpt`` → ``lora:rank=16,alpha=16`` and ``vpt``: what is no ``key=value`` begins a row."""
    found: list[str] = []
    for piece in _split(text):
        name, equals, _ = piece.partition("=")
        if equals and ":" not in name and found and ":" in found[-1]:
            found[-1] += f",{piece}"
        elif piece:
            found.append(piece)
    return found


def _split(text: str) -> list[str]:
    """At the commas outside of brackets and quotes."""
    pieces = re.findall(r"""(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|[^,])+""", text)
    return [piece.strip() for piece in pieces]
