"""The sentence that says what a dataset is, and the notes on what is odd in it."""

from __future__ import annotations

from collections.abc import Sequence

from reidtune.data.record import Record, cameras, identities
from reidtune.data.scan import show

EXAMPLES = 3

RANDOM_GALLERY = "random-gallery"
PROTOCOLS = {
    "cross-camera": "same-identity same-camera pairs are ignored (cross-camera)",
    "cross-scene": "same-identity same-scene pairs are ignored (cross-scene)",
    "all": "every gallery {image} counts (all)",
    "leave-one-out": "each test {image} is a query against all others (leave-one-out)",
    "random-gallery": "one random test {image} of each identity is the gallery, the others are queries, ten times "
    "(random-gallery)",
    "cross-modality": "every caption is a query, every {image} counts (cross-modality)",
}


def describe(
    title: str,
    train: Sequence[Record],
    query: Sequence[Record],
    gallery: Sequence[Record],
    protocol: str,
    modalities: Sequence[str] = (),
) -> str:
    """``"Market-1501 names: 751 train identities (12,936 images), 3,368 queries, … (cross-camera)."``; of several
    ``modalities``, samples are counted and the modalities named."""
    one = noun(modalities)
    words = [_count(len(identities(train)), "train identity", "train identities") + f" ({images(train, one)})"]
    if not train:
        words = ["no training split"]
    if query and (query is gallery or protocol == RANDOM_GALLERY):
        words.append(f"{len(query):,} test {one}s of {_count(len(identities(query)), 'identity', 'identities')}")
    elif query or gallery:
        ranked = sum(record.identity >= 0 for record in gallery)
        words.append(_count(len(query), "query", "queries"))
        words.append(_count(ranked, f"gallery {one}", f"gallery {one}s"))
    else:
        words.append("no test split")
    everything = [*train, *query, *gallery]
    seen = len(cameras(everything))
    words.append(_count(seen, "camera", "cameras") if seen else "cameras unknown")
    if protocol == "cross-scene":
        words.append(_count(len({record.scene for record in everything} - {None}), "scene", "scenes"))
    if modalities:
        words.append(f"modalities {' '.join([', '.join(modalities[:-1]), 'and', modalities[-1]])}")
    return f"{title}: {', '.join(words)}{_rule(protocol, query, one)}."


def describe_text(
    title: str,
    train: Sequence[Record],
    validation: Sequence[Record],
    query: Sequence[Record],
    gallery: Sequence[Record],
    protocol: str,
) -> str:
    """``"CUHK-PEDES: 11,003 train identities (34,054 images, 68,126 captions), …; … (cross-modality)."``"""
    words = [_people(records, word) for records, word in ((train, "train"), (validation, "validation")) if records]
    if not train:
        words.insert(0, "no training split")
    if query is gallery and query:
        words.append(_people(query, "test"))
    elif query:
        captions = _count(_captions(query), "caption", "captions")
        words.append(f"{captions} of {_count(len(identities(query)), 'identity', 'identities')} as queries")
        words.append(_count(sum(record.identity >= 0 for record in gallery), "gallery image", "gallery images"))
    else:
        words.append("no test split")
    return f"{title}: {', '.join(words)}{_rule(protocol, query)}."


def noun(modalities: Sequence[str]) -> str:
    """What a record is called: a ``sample`` of several modalities, else an ``image``."""
    return "sample" if modalities else "image"


def images(records: Sequence[Record], one: str = "image") -> str:
    return _count(len(records), one, f"{one}s")


def named(what: str, examples: Sequence[str]) -> list[str]:
    """``["What: 5 (a.jpg, b.jpg, c.jpg, …)."]``, or nothing where there are no ``examples``."""
    if not examples:
        return []
    some = ", ".join(show(name) for name in examples[:EXAMPLES]) + (", …" if len(examples) > EXAMPLES else "")
    return [f"{what}: {len(examples):,} ({some})."]


def unnamed(examples: Sequence[str], what: str = "identity and camera") -> list[str]:
    """That the names of ``examples`` do not tell ``what``."""
    return named(f"Left out, since the name tells no {what}", examples)


def left_out(before: Sequence[Record], after: Sequence[Record], where: str, one: str = "image") -> list[str]:
    gone = len(before) - len(after)
    return [f"{_count(gone, one, f'{one}s')} of identity −1 or 0 left out of {where}."] if gone else []


def gallery_notes(gallery: Sequence[Record]) -> list[str]:
    junk = sum(record.identity < 0 for record in gallery)
    distractors = sum(record.identity == 0 for record in gallery)
    notes = [
        f"Distractors (identity 0) in the gallery: {distractors:,}.",
        f"Junk (identity −1) in the gallery, never ranked and not counted above: {junk:,}.",
    ]
    return [note for note, number in zip(notes, (distractors, junk), strict=True) if number]


def without_caption(splits: dict[str, Sequence[Record]]) -> list[str]:
    bare = {name: sum(not record.captions for record in records) for name, records in splits.items()}
    told = [f"{number:,} in {name}" for name, number in bare.items() if number]
    return [f"Images without a caption, not learned from and no queries: {', '.join(told)}."] if told else []


def without_modality(records: Sequence[Record], modalities: Sequence[str]) -> list[str]:
    """How many of ``records`` (each counted once) lack one of ``modalities`` or more, and which."""
    lacking = [
        set(modalities) - set(record.modalities) for record in {id(record): record for record in records}.values()
    ]
    number = sum(map(bool, lacking))
    missing = {name: sum(name in names for names in lacking) for name in modalities}
    told = ", ".join(f"{name} {count:,}" for name, count in missing.items() if count)
    return [f"Samples that lack a modality: {number:,} ({told})."] if number else []


def overlap(one: Sequence[Record], other: Sequence[Record], where: str) -> list[str]:
    both = len(identities(one) & identities(other))
    return [f"Careful: {_count(both, 'identity is', 'identities are')} {where}."] if both else []


def find_themselves(query: Sequence[Record], gallery: Sequence[Record], protocol: str) -> list[str]:
    if protocol != "all":
        return []
    both = len({record.images for record in query} & {record.images for record in gallery})
    return [f"Careful: queries that are in the gallery too, and find themselves: {both:,}."] if both else []


def _rule(protocol: str, query: Sequence[Record], one: str = "image") -> str:
    return f"; {PROTOCOLS.get(protocol, protocol).format(image=one)}" if query else ""


def _people(records: Sequence[Record], split: str) -> str:
    people = _count(len(identities(records)), f"{split} identity", f"{split} identities")
    return f"{people} ({images(records)}, {_count(_captions(records), 'caption', 'captions')})"


def _captions(records: Sequence[Record]) -> int:
    return sum(len(record.captions) for record in records)


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
