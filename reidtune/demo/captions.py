"""English sentences about what can be seen of a person in one shot."""

from __future__ import annotations

import re
from collections.abc import Collection

from numpy.random import Generator

from reidtune.demo.people import Item, Person

SHADES = {
    "gray": ("gray", "grey"),
    "dark red": ("dark red", "maroon", "burgundy"),
    "beige": ("beige", "tan", "cream colored"),
    "navy": ("navy", "navy blue", "dark blue"),
    "light blue": ("light blue", "pale blue"),
    "white": ("white", "white colored"),
    "black": ("black", "black colored"),
}
KINDS = {
    "t-shirt": ("t-shirt", "tee shirt", "short sleeved shirt", "short sleeve top"),
    "tank top": ("tank top", "sleeveless top"),
    "shirt": ("shirt", "long sleeved shirt", "long sleeve top"),
    "sweater": ("sweater", "pullover", "jumper"),
    "hoodie": ("hoodie", "hooded sweatshirt"),
    "jacket": ("jacket", "short jacket"),
    "coat": ("coat", "long coat", "knee length coat"),
    "dress": ("dress", "knee length dress"),
    "trousers": ("pants", "trousers", "long pants", "slacks"),
    "jeans": ("jeans", "denim pants"),
    "leggings": ("leggings", "tight pants"),
    "shorts": ("shorts", "knee length shorts"),
    "skirt": ("skirt", "knee length skirt"),
    "long skirt": ("long skirt", "ankle length skirt"),
    "shoes": ("shoes",),
    "sneakers": ("sneakers", "running shoes", "shoes"),
    "boots": ("boots",),
    "cap": ("cap", "baseball cap"),
    "beanie": ("beanie", "knit hat"),
    "sun hat": ("sun hat", "wide brimmed hat"),
    "backpack": ("backpack", "rucksack"),
    "shoulder bag": ("shoulder bag", "bag over the shoulder", "cross body bag"),
    "handbag": ("handbag", "hand bag", "purse"),
}
PATTERNS = {
    "stripes": ("{kind} with {second} horizontal stripes", "{kind} striped with {second}"),
    "vertical stripes": ("{kind} with {second} vertical stripes", "{kind} with {second} pinstripes"),
    "checks": ("{kind} with {second} checks", "{second} checkered {kind}"),
    "dots": ("{kind} with {second} dots", "{kind} with {second} polka dots"),
    "logo": ("{kind} with a {second} logo on the chest", "{kind} with a {second} print on the front"),
    "two-tone": ("{kind} with {second} shoulders", "{kind} with a {second} upper part"),
}
PLURAL = ("trousers", "jeans", "leggings", "shorts", "shoes", "sneakers", "boots")


def captions(person: Person, view: str, visible: Collection[str], rng: Generator, count: int = 2) -> list[str]:
    """``count`` descriptions of what is ``visible`` (part names) of ``person`` from ``view``; each leaves some out."""
    return [_caption(person, view, visible, rng) for _ in range(count)]


def tokens(caption: str) -> list[str]:
    """Lower-case words, as CUHK-PEDES' ``processed_tokens`` has them."""
    return re.findall(r"[a-z0-9]+", caption.lower())


def _caption(person: Person, view: str, visible: Collection[str], rng: Generator) -> str:
    noun, pronoun, own = _words(person, view, visible, rng)
    hair = _hair(person, visible, rng) if rng.random() < 0.6 else ""
    upper = _upper(person, view, visible, rng)
    lower = _item(person.lower, rng) if "lower" in visible and rng.random() < 0.9 else ""
    shoes = _item(person.shoes, rng) if "shoes" in visible and rng.random() < 0.65 else ""
    hat = _item(person.hat, rng) if person.hat and "hat" in visible and rng.random() < 0.85 else ""
    bag = _bag(person, visible, own, rng) if rng.random() < 0.88 else ""
    glasses = "glasses" if "glasses" in visible and rng.random() < 0.5 else ""
    worn = [upper, lower, shoes, hat, glasses]
    worn = [thing for thing in worn if thing] or ["clothes that can hardly be seen"]
    way = _way(view, rng) if rng.random() < 0.4 else ""
    style = int(rng.integers(4))
    if style == 0:  # one sentence
        text = f"{_a(noun)}{f' with {hair}' if hair else ''}{way} wearing {_list(worn)}"
        return _sentence(text + (f" and {bag}" if bag else ""))
    if style == 1:  # who, then what
        who = f"the {noun}{' has ' + hair + ' and' if hair else ''} is wearing {_list(worn[:2])}"
        rest = [f"{pronoun} also has on {_list(worn[2:])}"] if worn[2:] else []
        rest += [f"{pronoun} is {bag}"] if bag else []
        return " ".join(_sentence(part) for part in [who, *rest])
    if style == 2:  # dressed in
        order = [worn[i] for i in rng.permutation(len(worn))]
        text = f"{_a(noun)}{way} dressed in {_list(order)}{', ' + bag if bag else ''}"
        return _sentence(text) + (" " + _sentence(f"{own} hair is {hair_word}") if (hair_word := _short(hair)) else "")
    first = f"{pronoun} is {way.strip() or 'walking'} in {_list(worn[:2])}"
    rest = [f"{own} other things are {_list(worn[2:])}"] if worn[2:] and rng.random() < 0.3 else []
    if worn[2:] and not rest:
        rest = [f"there {'are' if _many(worn[2]) else 'is'} also {_list(worn[2:])}"]
    rest += [f"this {noun} is {bag}"] if bag else []
    rest += [f"{pronoun} has {hair}"] if hair else []
    return " ".join(_sentence(part) for part in [first, *rest])


def _words(person: Person, view: str, visible: Collection[str], rng: Generator) -> tuple[str, str, str]:
    unsure = view == "back" and person.hair in ("short", "bald", "bob") and rng.random() < 0.5
    if unsure or rng.random() < 0.12:
        return str(rng.choice(("person", "pedestrian"))), "the person", "the"
    nouns = ("woman", "woman", "lady", "female", "girl") if person.woman else ("man", "man", "guy", "male")
    build = ""
    if rng.random() < 0.25:
        if person.girth > 1.22:
            build = str(rng.choice(("heavy ", "stout ")))
        elif person.girth < 0.84:
            build = str(rng.choice(("slim ", "thin ")))
        elif person.stature > 1.07:
            build = "tall "
    pronoun = "she" if person.woman else "he"
    return build + str(rng.choice(nouns)), pronoun, "her" if person.woman else "his"


def _hair(person: Person, visible: Collection[str], rng: Generator) -> str:
    if person.hair == "bald":
        return "a bald head" if person.hat is None else ""
    if "hair" not in visible:
        return ""
    colour = _colour(person.hair_colour, rng)
    shape = {
        "short": ("short {} hair", "{} hair"),
        "bob": ("chin length {} hair", "{} hair"),
        "long": ("long {} hair", "{} hair"),
        "ponytail": ("{} hair in a ponytail", "a {} ponytail"),
        "bun": ("{} hair in a bun", "{} hair tied up"),
    }[person.hair]
    return str(rng.choice(shape)).format(colour)


def _short(hair: str) -> str:
    """``long and black`` of ``long black hair``; empty where the phrase is not made so."""
    words = hair.removesuffix(" hair")
    for shape in ("short", "long", "chin length"):
        words = words.replace(f"{shape} ", f"{shape} and ")
    return words if hair.endswith(" hair") else ""


def _upper(person: Person, view: str, visible: Collection[str], rng: Generator) -> str:
    item = person.upper
    if not {"upper", "upper_second"} & set(visible):
        return ""
    kind = str(rng.choice(KINDS[item.kind]))
    shown = "logo" in visible if item.pattern == "logo" else "upper_second" in visible
    if item.pattern != "plain" and shown and rng.random() < 0.85:
        second = _colour(item.second, rng)
        phrase = str(rng.choice(PATTERNS[item.pattern])).format(kind=kind, second=second)
        text = _a(f"{_colour(item.colour, rng)} {'and ' if phrase.startswith(second) else ''}{phrase}")
    else:
        text = _a(f"{_colour(item.colour, rng)} {kind}")
    if "inner" in visible and rng.random() < 0.6:
        text += f" over {_a(_colour(person.inner.colour, rng) + ' shirt')}"
    return text


def _bag(person: Person, visible: Collection[str], own: str, rng: Generator) -> str:
    bag = person.bag
    if bag is None:
        return ""
    if "bag" not in visible:  # straps tell that there is a bag, not what it looks like
        seen = bag.kind == "backpack" and "strap" in visible and rng.random() < 0.4
        return "carrying something on " + own + " back" if seen else ""
    verb = {"backpack": ("carrying", "wearing"), "handbag": ("holding", "carrying")}.get(
        bag.kind, ("carrying", "wearing")
    )
    phrase = f"{rng.choice(verb)} {_item(bag, rng)}"
    if bag.kind == "backpack" and rng.random() < 0.3:
        phrase += f" on {own} back"
    return phrase


def _item(item: Item, rng: Generator) -> str:
    kind = str(rng.choice(KINDS[item.kind]))
    colour = _colour(item.colour, rng)
    if rng.random() < 0.08:
        colour = ""
    phrase = f"{colour} {kind}".strip()
    if item.kind in PLURAL:
        return f"a pair of {phrase}" if rng.random() < 0.25 else phrase
    return _a(phrase)


def _way(view: str, rng: Generator) -> str:
    options = {
        "front": (" facing the camera", " walking towards the camera", " seen from the front"),
        "back": (" seen from behind", " walking away", " with the back to the camera"),
        "left": (" walking to the left", " seen from the side", " walking"),
        "right": (" walking to the right", " seen from the side", " walking"),
    }[view]
    return str(rng.choice(options))


def _colour(name: str, rng: Generator) -> str:
    return str(rng.choice(SHADES[name])) if name in SHADES and rng.random() < 0.5 else name


def _many(phrase: str) -> bool:
    return not phrase.startswith(("a ", "an "))


def _a(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _list(things: list[str]) -> str:
    return things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[0].upper() + text[1:] + "."
