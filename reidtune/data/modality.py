"""Names of modalities: what datasets call them, and the words that describe them."""

from __future__ import annotations

from collections.abc import Iterable

RGB, NIR, TIR = "rgb", "nir", "tir"

ALIASES = {
    RGB: ("rgb", "vis", "visible", "color", "colour"),
    NIR: ("nir", "ni", "near-infrared", "nearinfrared", "near_infrared"),
    TIR: ("tir", "ti", "th", "thermal", "thermal-infrared", "thermalinfrared", "thermal_infrared", "ir"),
}
WORDS = {RGB: "visible", NIR: "near-infrared", TIR: "thermal-infrared"}

_BY_ALIAS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}


def modality_name(folder: str) -> str:
    """The name of the modality that a folder or column is called after: ``TI`` is ``tir``; an unknown one keeps its
    own name, in lower case."""
    name = folder.strip().lower()
    return _BY_ALIAS.get(name.replace(" ", "-"), name)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once: ``rgb``, ``nir``, ``tir`` first, others as they came."""
    found = dict.fromkeys(names)
    return tuple(name for name in ALIASES if name in found) + tuple(name for name in found if name not in ALIASES)


def without_word(stem: str, name: str) -> str:
    """``stem`` without the modality's own word at its end: ``7_ni`` of the modality ``nir`` is ``7``."""
    for alias in sorted(ALIASES.get(name, (name,)), key=len, reverse=True):
        head = stem[: -len(alias) - 1]
        if head and stem.lower().endswith(alias) and stem[len(head)] in "_-. ":
            return head
    return stem


def describe(name: str, noun: str) -> str:
    """``"a near-infrared photo of a person"``, the text of a modality unless the user gives another."""
    words = WORDS.get(name, name.replace("_", " "))
    article = "an" if words[:1].lower() in "aeiou" else "a"
    other = "an" if noun[:1].lower() in "aeiou" else "a"
    return f"{article} {words} photo of {other} {noun}"
