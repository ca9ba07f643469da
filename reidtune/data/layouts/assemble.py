"""What all layouts share: from lists of records to a dataset, its protocol and the sentence that describes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from reidtune.data.layouts import describe as words
from reidtune.data.layouts.describe import PROTOCOLS, RANDOM_GALLERY
from reidtune.data.record import Dataset, Record, identities, knows_several
from reidtune.data.scan import show
from reidtune.data.split import split_identities
from reidtune.errors import DataError, SettingsError, did_you_mean

SPLITS = ("train", "val", "test", "query", "gallery")


def number_names(names: Iterable[str]) -> dict[str, int]:
    """A positive number for every identity name; ``-1`` is junk and stays −1.

    Names that are all positive integers keep their number (``0007`` is 7). Any other set of names, one that holds a
    ``0`` or both ``7`` and ``07`` included, is numbered 1, 2, 3 … in sorted order.
    """
    ordered = sorted(set(names) - {"-1"})
    if all(re.fullmatch(r"[0-9]{1,15}", name) for name in ordered):
        numbers = {name: int(name) for name in ordered}
        if len(set(numbers.values())) == len(numbers) and 0 not in numbers.values():
            return {**numbers, "-1": -1}
        ordered.sort(key=lambda name: (int(name), name))
    return {**{name: number for number, name in enumerate(ordered, 1)}, "-1": -1}


def assemble(
    root: Path,
    layout: str,
    title: str,
    train: Sequence[Record],
    query: Sequence[Record],
    gallery: Sequence[Record],
    *,
    protocol: str | None = None,
    notes: Sequence[str] = (),
    names: dict[int, str] | None = None,
    task: str = "image",
    validation: Sequence[Record] = (),
    modalities: Sequence[str] = (),
) -> Dataset:
    """Check the records, settle the protocol and write the sentence.

    Junk (−1) and distractors (0) leave ``train`` and ``query``; pass the same list twice where every test image is
    both query and gallery. ``title`` names what was recognised, ``notes`` are further whole sentences. ``validation``
    is the layout's own validation split, for ``task`` text; ``modalities`` are those of ``task`` multimodal, in order.

    Raises ``DataError`` where nothing is left or all images show one identity, ``SettingsError`` for a protocol that
    is unknown or needs what the data does not have.
    """
    text, notes = task == "text", list(notes)
    if protocol == RANDOM_GALLERY and query is not gallery and (query or gallery):
        query = gallery = _one_list(query, gallery)
        notes.insert(0, "Query and gallery are joined to one list, without junk.")
    same = query is gallery
    kept_train = [record for record in train if record.identity > 0]
    kept_query = [record for record in query if record.identity > 0]
    kept_validation = [record for record in validation if record.identity > 0]
    if same and (text or len(kept_query) == len(query) or _finds_itself(query, protocol)):
        gallery = kept_query
    everyone = identities([*kept_train, *kept_query, *gallery, *kept_validation])
    if not everyone:
        raise DataError(
            f'"{show(root)}" holds no image of a known identity.',
            "Check the path; the README lists the layouts that are read.",
        )
    if len(everyone) == 1:
        raise DataError(
            f'All images of "{show(root)}" show one identity; re-identification needs at least two.',
            "Give the folder that holds all the identities, not the folder of one.",
        )
    if bool(kept_query) != bool(gallery):
        have, missing = ("queries", "gallery images") if kept_query else ("gallery images", "queries")
        raise DataError(
            f'"{show(root)}" has {have} but no {missing} of a known identity.',
            "Check that the archive was unpacked completely; a test split needs both.",
        )
    protocol = settle_protocol(protocol, kept_query, gallery, task)
    one = words.noun(modalities)
    told = [
        *words.left_out(train, kept_train, "training", one),
        *words.left_out(query, kept_query, "the queries", one),
        *words.gallery_notes(gallery),
        *(
            words.without_caption({"training": kept_train, "validation": kept_validation, "test": kept_query})
            if text
            else []
        ),
        *words.without_modality([*kept_train, *kept_query, *gallery], modalities),
        *words.overlap(kept_train, kept_query, "in training and in the queries"),
        *words.overlap(kept_train, kept_validation, "in training and in validation"),
        *words.overlap(kept_validation, kept_query, "in validation and in the queries"),
        *words.find_themselves(kept_query, gallery, protocol),
    ]
    if text:
        first = words.describe_text(title, kept_train, kept_validation, kept_query, gallery, protocol)
    else:
        first = words.describe(title, kept_train, kept_query, gallery, protocol, modalities)
    sentence = " ".join([first, *told, *notes])
    facts = (root, layout, task, protocol, kept_train, kept_query, gallery, sentence, dict(names or {}))
    return Dataset(*facts, validation=kept_validation, modalities=tuple(modalities))


def _one_list(query: Sequence[Record], gallery: Sequence[Record]) -> list[Record]:
    """Every image of either once, junk left out."""
    return list({record.images: record for record in (*query, *gallery) if record.identity >= 0}.values())


def _finds_itself(query: Sequence[Record], protocol: str | None) -> bool:
    """Whether only one and the same list as query and gallery keeps a query from finding itself: no cameras do."""
    return protocol != RANDOM_GALLERY and any(record.camera is None for record in query)


def settle_protocol(wanted: str | None, query: Sequence[Record], gallery: Sequence[Record], task: str = "image") -> str:
    """``wanted`` if it fits, else the default: ``cross-modality`` for text; for others ``cross-camera`` where the test
    images come from several cameras, ``leave-one-out`` where one list is query and gallery, ``all`` otherwise.
    """
    test = query if query is gallery else [*query, *gallery]
    if wanted is None:
        if task == "text":
            return "cross-modality"
        if knows_several(test):
            return "cross-camera"
        return "leave-one-out" if query is gallery and query else "all"
    if wanted not in PROTOCOLS:
        raise SettingsError(
            f'There is no protocol "{wanted}".{did_you_mean(wanted, PROTOCOLS)}',
            f"Protocols: {', '.join(PROTOCOLS)}.",
        )
    if task == "text" and wanted != "cross-modality":
        raise SettingsError(
            f'The protocol "{wanted}" compares images with images, but here captions look for images.',
            "Choose cross-modality, or leave the protocol out.",
        )
    if task != "text" and wanted == "cross-modality":
        raise SettingsError(
            'The protocol "cross-modality" needs captions that look for images, and this data has none to use.',
            "Choose leave-one-out, all or cross-camera, or give the captions in a table.",
        )
    for name, field in (("cross-camera", "camera"), ("cross-scene", "scene")):
        unknown = sum(getattr(record, field) is None for record in test)
        if wanted == name and unknown:
            raise SettingsError(
                f'The protocol "{name}" needs the {field} of every test image; {unknown:,} of {len(test):,} have none.',
                "Choose leave-one-out or all, or give the data as a table with that column.",
            )
    if wanted == "leave-one-out" and query is not gallery:
        raise SettingsError(
            'The protocol "leave-one-out" needs one list of images that is query and gallery; here they are two.',
            "Choose all or cross-camera.",
        )
    if wanted == "all" and query is gallery and query:
        raise SettingsError(
            'Under the protocol "all" every query would find itself: one list of images is query and gallery.',
            "Choose leave-one-out, which leaves out the query itself and nothing else.",
        )
    return wanted


def resolve_splits(
    parts: dict[str, list[Record]],
    root: Path,
    images_needed: int = 2,
    one: str = "image",
    protocol: str | None = None,
) -> tuple[list[Record], list[Record], list[Record], list[str]]:
    """(train, query, gallery, notes) from records by split name (``SPLITS``; ``""`` where there are no splits).

    Query and gallery are the same list where one split serves as both. Without splits half of the identities train
    and half test (seed 0); too few identities for that are all test. ``images_needed`` and ``protocol`` are those of
    :func:`split_identities`; ``one`` is what a record is called.
    """
    parts = {name: records for name, records in parts.items() if records}
    if set(parts) == {""}:
        return _halves(parts[""], images_needed, one, protocol or "cross-camera")
    train, notes = parts.pop("train", []), []
    used: tuple[str, ...]
    if "query" in parts and ("gallery" in parts or "test" in parts):
        used = ("query", "gallery" if "gallery" in parts else "test")
        if used[1] == "test":
            notes.append('The split "test" is the gallery.')
    elif "query" in parts or "gallery" in parts:
        have, missing = ("query", "gallery") if "query" in parts else ("gallery", "query")
        raise DataError(
            f'"{show(root)}" has a {have} split but no {missing} split.',
            f'Add "{missing}", or call it "test" if its images are both query and gallery.',
        )
    elif "test" in parts:
        used = ("test",)
    elif "val" in parts:
        used = ("val",)
        notes.append('The split "val" is the test split; validation is carved from the training identities.')
    else:
        return train, [], [], []
    rest = [f'"{name}" ({words.images(parts[name], one)})' for name in SPLITS if name in parts and name not in used]
    if rest:
        notes.append(f"Not used: {', '.join(rest)}; validation is carved from the training identities.")
    return train, parts[used[0]], parts[used[-1]], notes


def _halves(
    records: list[Record], images_needed: int, one: str, protocol: str
) -> tuple[list[Record], list[Record], list[Record], list[str]]:
    try:
        train, test = split_identities(records, 0.5, 0, images_needed, protocol)
    except DataError:
        return [], records, records, [f"No splits, and too few identities to divide: all {one}s are test {one}s."]
    note = (
        "No splits: half of the identities train, half test, none does both (seed 0); "
        'name folders or rows "train" and "test" to decide.'
    )
    return train, test, test, [note]
