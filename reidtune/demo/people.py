"""The people of the demo world: what each one looks like, wears and carries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (28, 28, 32),
    "white": (232, 232, 228),
    "gray": (128, 130, 132),
    "red": (186, 36, 40),
    "dark red": (104, 26, 36),
    "orange": (222, 118, 38),
    "yellow": (226, 196, 62),
    "green": (54, 128, 66),
    "dark green": (34, 66, 48),
    "light blue": (134, 178, 216),
    "blue": (44, 84, 168),
    "navy": (28, 36, 76),
    "purple": (108, 62, 136),
    "pink": (224, 146, 166),
    "brown": (104, 70, 44),
    "beige": (204, 184, 148),
}
"""Colour words and the sRGB values (0–255) around which dyes are drawn."""

HAIR = {
    "black": (26, 22, 22),
    "brown": (78, 52, 34),
    "blond": (196, 160, 100),
    "red": (140, 68, 36),
    "gray": (150, 148, 146),
}
SKIN = ((238, 202, 178), (216, 172, 140), (178, 128, 94), (122, 82, 58), (84, 56, 42))
UPPER = {  # kind: (sleeves, hem as a fraction of the stature, opens in front, surface warmth 0–1)
    "t-shirt": ("short", 0.53, False, 0.66),
    "tank top": ("none", 0.52, False, 0.68),
    "shirt": ("long", 0.54, False, 0.60),
    "sweater": ("long", 0.53, False, 0.46),
    "hoodie": ("long", 0.54, False, 0.44),
    "jacket": ("long", 0.55, True, 0.34),
    "coat": ("long", 0.74, True, 0.26),
    "dress": ("short", 0.70, False, 0.60),
}
LOWER = {"trousers": 0.52, "jeans": 0.48, "leggings": 0.62, "shorts": 0.55, "skirt": 0.54, "long skirt": 0.50}
PATTERNS = ("plain", "stripes", "vertical stripes", "checks", "dots", "logo", "two-tone")


@dataclass(frozen=True, slots=True)
class Item:
    """A garment, hat, pair of shoes or bag.

    ``rgb`` and ``second_rgb`` are sRGB 0–255. ``near`` and ``second_near`` are the reflectances (0–1) at near
    infrared: a property of dye and fibre that does not follow from the visible brightness. ``warmth`` is the
    temperature of the outside between the surroundings (0) and bare skin (1).
    """

    kind: str
    colour: str
    rgb: tuple[int, int, int]
    near: float
    warmth: float
    pattern: str = "plain"
    second: str = ""
    second_rgb: tuple[int, int, int] = (0, 0, 0)
    second_near: float = 0.5
    period: float = 0.05


@dataclass(frozen=True, slots=True)
class Person:
    """One identity. Lengths are fractions of the stature; ``stature`` is relative to the average (1.0)."""

    number: int
    woman: bool
    stature: float
    girth: float
    skin: tuple[int, int, int]
    skin_near: float
    hair: str
    hair_colour: str
    hair_rgb: tuple[int, int, int]
    hair_near: float
    upper: Item
    inner: Item
    lower: Item
    shoes: Item
    hat: Item | None
    bag: Item | None
    bag_side: int
    glasses: bool


def make_people(count: int, seed: int) -> list[Person]:
    """The first ``count`` people of the world ``seed``; a longer list starts with the shorter one.

    Three of ten are near look-alikes of one of the three people before them: the same clothes out of the same shop,
    with two or three things changed.
    """
    people: list[Person] = []
    for number in range(count):
        rng = np.random.default_rng([seed, 1, number])
        if number % 10 and rng.random() < 0.3:
            base = people[number - 1 - int(rng.integers(min(3, number % 10)))]
            people.append(_look_alike(base, number, rng))
        else:
            people.append(_somebody(number, rng))
    return people


def _somebody(number: int, rng: Generator) -> Person:
    woman = bool(rng.random() < 0.5)
    upper = _upper(woman, rng)
    hair_colour = _choose(rng, HAIR, (0.34, 0.30, 0.16, 0.08, 0.12))
    tone = SKIN[int(rng.integers(len(SKIN)))]
    return Person(
        number=number,
        woman=woman,
        stature=float(np.clip(rng.normal(0.97 if woman else 1.03, 0.045), 0.86, 1.14)),
        girth=float(np.clip(rng.normal(1.0, 0.15), 0.74, 1.42)),
        skin=_dye(tone, rng, 8),
        skin_near=float(rng.uniform(0.58, 0.72)),
        hair=_hair(woman, rng),
        hair_colour=hair_colour,
        hair_rgb=_dye(HAIR[hair_colour], rng, 9),
        hair_near=float(rng.uniform(0.25, 0.55)),
        upper=upper,
        inner=_item("t-shirt", rng, warmth=0.6, colours=("white", "gray", "black", "light blue", "red", "beige")),
        lower=_lower(woman, rng),
        shoes=_shoes(rng),
        hat=_hat(rng),
        bag=_bag(woman, rng),
        bag_side=int(rng.choice((-1, 1))),
        glasses=bool(rng.random() < 0.18),
    )


def _look_alike(base: Person, number: int, rng: Generator) -> Person:
    """``base`` with other proportions and two or three changed attributes."""
    other = _somebody(number, rng)
    upper = replace(base.upper, rgb=_dye(base.upper.rgb, rng, 5))
    lower = replace(base.lower, rgb=_dye(base.lower.rgb, rng, 5))
    changes: dict[str, Any] = {
        "hair": {"hair": _hair(base.woman, rng)},
        "hair_colour": {"hair_colour": other.hair_colour, "hair_rgb": other.hair_rgb},
        "skin": {"skin": other.skin},
        "inner": {"inner": other.inner},
        "shoes": {"shoes": other.shoes},
        "hat": {"hat": other.hat},
        "bag": {"bag": other.bag, "bag_side": other.bag_side},
        "lower": {"lower": _lower(base.woman, rng)},
        "pattern": {"upper": _patterned(upper, rng)},
        "glasses": {"glasses": not base.glasses},
    }
    changed: dict[str, Any] = {}
    for name in rng.permutation(sorted(changes))[: int(rng.integers(2, 4))]:
        changed |= changes[str(name)]
    stature = other.stature if other.woman == base.woman else base.stature
    changed = {"upper": upper, "lower": lower} | changed
    return replace(base, number=number, stature=stature, girth=other.girth, **changed)


def _upper(woman: bool, rng: Generator) -> Item:
    weights = (0.24, 0.05, 0.17, 0.12, 0.14, 0.17, 0.11, 0.0)
    if woman:
        weights = (0.20, 0.10, 0.12, 0.13, 0.10, 0.12, 0.11, 0.12)
    kind = _choose(rng, UPPER, weights)
    return _patterned(_item(kind, rng, warmth=UPPER[kind][3]), rng)


def _patterned(item: Item, rng: Generator) -> Item:
    weights = [0.42, 0.14, 0.07, 0.10, 0.07, 0.12, 0.08]
    if UPPER[item.kind][2]:  # an open front leaves no place for a print on the chest
        weights[0] += weights[5]
        weights[5] = 0.0
    others = [name for name in COLOURS if name != item.colour and _far(name, item.colour)]
    second = str(rng.choice(others))
    return replace(
        item,
        pattern=_choose(rng, PATTERNS, weights),
        second=second,
        second_rgb=_dye(COLOURS[second], rng, 10),
        second_near=float(rng.uniform(0.2, 0.95)),
        period=float(rng.uniform(0.038, 0.07)),
    )


def _lower(woman: bool, rng: Generator) -> Item:
    weights = (0.30, 0.30, 0.12, 0.10, 0.12, 0.06) if woman else (0.42, 0.36, 0.0, 0.22, 0.0, 0.0)
    kind = _choose(rng, LOWER, weights)
    colours = ("blue", "navy", "light blue", "black", "gray") if kind == "jeans" else tuple(COLOURS)
    if kind in ("trousers", "leggings") and rng.random() < 0.7:
        colours = ("black", "gray", "navy", "brown", "beige", "white", "dark green")
    return _item(kind, rng, warmth=LOWER[kind], colours=colours)


def _shoes(rng: Generator) -> Item:
    kind = _choose(rng, ("shoes", "sneakers", "boots"), (0.4, 0.4, 0.2))
    bright = ("white", "black", "gray", "red", "blue", "green", "orange", "pink")
    colours = bright if kind == "sneakers" else ("black", "brown", "dark red", "beige", "gray")
    return _item(kind, rng, warmth=0.3, colours=colours)


def _hat(rng: Generator) -> Item | None:
    kind = _choose(rng, ("", "cap", "beanie", "sun hat"), (0.76, 0.11, 0.08, 0.05))
    return _item(kind, rng, warmth=0.35) if kind else None


def _bag(woman: bool, rng: Generator) -> Item | None:
    weights = (0.30, 0.28, 0.22, 0.20) if woman else (0.38, 0.38, 0.18, 0.06)
    kind = _choose(rng, ("", "backpack", "shoulder bag", "handbag"), weights)
    return _item(kind, rng, warmth=0.14) if kind else None


def _hair(woman: bool, rng: Generator) -> str:
    kinds = ("bald", "short", "bob", "long", "ponytail", "bun")
    return _choose(rng, kinds, (0.0, 0.12, 0.22, 0.34, 0.22, 0.10) if woman else (0.1, 0.74, 0.08, 0.05, 0.02, 0.01))


def _item(kind: str, rng: Generator, warmth: float, colours: tuple[str, ...] = tuple(COLOURS)) -> Item:
    colour = str(rng.choice(colours))
    return Item(
        kind=kind,
        colour=colour,
        rgb=_dye(COLOURS[colour], rng, 12),
        near=float(rng.uniform(0.15, 0.95)),
        warmth=float(np.clip(warmth + rng.normal(0, 0.05), 0.05, 0.9)),
    )


def _dye(rgb: tuple[int, int, int], rng: Generator, spread: float) -> tuple[int, int, int]:
    brightness = rng.normal(0, spread)
    red, green, blue = (int(np.clip(value + brightness + rng.normal(0, spread / 2), 4, 250)) for value in rgb)
    return red, green, blue


def _far(first: str, second: str) -> bool:
    """Whether two colours are far enough apart for a pattern to be seen."""
    return sum(abs(a - b) for a, b in zip(COLOURS[first], COLOURS[second], strict=True)) > 150


def _choose(rng: Generator, options: Any, weights: Any) -> str:
    weights = np.asarray(weights, dtype=np.float64)
    return str(rng.choice(list(options), p=weights / weights.sum()))
