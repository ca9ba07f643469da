"""Person search by text: CUHK-PEDES, ICFG-PEDES and RSTPReid, each one JSON list of images with captions.

The images lie below ``imgs``. The list alone says which split an image is in: the folders ``train`` and ``test`` of
ICFG-PEDES are those of MSMT17, from which its images come, and mean nothing here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from reidtune.data.layouts.assemble import assemble
from reidtune.data.layouts.registry import Layout
from reidtune.data.record import Dataset, ImageFile, Record
from reidtune.data.scan import show
from reidtune.errors import DataError

SPLITS = ("train", "val", "test")
IMAGES = "imgs"
HINT = "Entries count from 1. Correct the entry, or take it out of the file."


@dataclass(frozen=True)
class Family:
    """A dataset by its layout ``name``, its ``title``, the names its list goes by, and the key of an image's path."""

    name: str
    title: str
    lists: tuple[str, ...]
    path_key: str = "file_path"


CUHK_PEDES = Family("cuhk-pedes", "CUHK-PEDES", ("reid_raw.json",))  # Li et al., CVPR 2017
ICFG_PEDES = Family("icfg-pedes", "ICFG-PEDES", ("ICFG-PEDES.json", "ICFG_PEDES.json"))  # Ding et al., 2021
RSTPREID = Family("rstpreid", "RSTPReid", ("data_captions.json",), "img_path")  # Zhu et al., ACM MM 2021


@dataclass(slots=True)
class Listing:
    """What the entries of a list say: captions by (path, identity, split), and what is to be told of them."""

    captions: dict[tuple[str, int, str], list[str]] = field(default_factory=dict)
    blank: int = 0
    repeated: int = 0


def read(family: Family, path: Path, protocol: str | None = None) -> Dataset:
    """The dataset at ``path``. No image is looked at. Raises ``DataError`` naming the file and the entry that is wrong.

    Identities that count from 0, as in ICFG-PEDES and RSTPReid, are one higher in the records, where 0 would be a
    distractor; ``Dataset.identity_names`` has their own numbers.
    """
    source = _list_of(family, path)
    if source is None:
        raise DataError(
            f'"{show(path)}" has no file {" or ".join(family.lists)}, the list of {family.title}.',
            f"Give the folder that holds it beside the folder {IMAGES}.",
        )
    folder = path / IMAGES
    if not folder.is_dir():
        raise DataError(
            f'"{show(path)}" has no folder {IMAGES}, in which {show(source.name)} looks for its images.',
            f"Put the images there, or a link to them named {IMAGES}.",
        )
    entries = _load(source)
    listing = Listing()
    for number, entry in enumerate(entries, 1):
        _add(listing, source, number, entry, family.path_key)
    shift = int(any(identity == 0 for _, identity, _ in listing.captions))
    parts: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for (name, identity, split), captions in listing.captions.items():
        parts[split].append(Record((ImageFile(folder / name),), identity + shift, captions=tuple(captions)))
    numbers = {identity for _, identity, _ in listing.captions} if shift else set()
    return assemble(
        path,
        family.name,
        family.title,
        parts["train"],
        parts["test"],
        parts["test"],
        protocol=protocol,
        notes=_notes(listing),
        names={identity + 1: str(identity) for identity in sorted(numbers)},
        task="text",
        validation=parts["val"],
    )


def _list_of(family: Family, path: Path) -> Path | None:
    return next((path / name for name in family.lists if (path / name).is_file()), None)


def _load(source: Path) -> list[Any]:
    try:
        entries = json.loads(source.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f'"{show(source)}" is not JSON ({error}).', "Download or unpack the file again.") from error
    if not isinstance(entries, list) or not entries:
        what = "an empty list" if entries == [] else f"{_kind(entries)}, not a list"
        raise DataError(f'"{show(source)}" holds {what}.', "It must hold a list with an entry for each image.")
    return entries


def _add(listing: Listing, source: Path, number: int, entry: Any, path_key: str) -> None:
    """Check one entry and add its captions; an image that is listed again gets those of which it has none yet.

    One entry may say the same twice: each of its captions is a query in the published protocol.
    """

    def wrong(what: str) -> DataError:
        return DataError(f'"{show(source)}", entry {number}: {what}.', HINT)

    if not isinstance(entry, dict):
        raise wrong(f"{_kind(entry)}, not an object with {path_key}, id, split and captions")
    for key in (path_key, "id", "split", "captions"):
        if key not in entry:
            raise wrong(f"{key} is missing; its keys are {', '.join(show(name) for name in entry) or 'none'}")
    name, identity, split, captions = (entry[key] for key in (path_key, "id", "split", "captions"))
    if not _is_text(name) or not name.strip():
        raise wrong(f"{path_key} is {_short(name)}, not the path of an image")
    if type(identity) is not int or identity < 0:
        raise wrong(f"id is {_short(identity)}, not a whole number from 0")
    if not isinstance(split, str) or split not in SPLITS:
        raise wrong(f"split is {_short(split)}, not one of {', '.join(SPLITS)}")
    if not isinstance(captions, list) or not captions:
        raise wrong(f"captions is {_short(captions)}, not a list of captions")
    for caption in captions:
        if not _is_text(caption):
            raise wrong(f"a caption is {_short(caption)}, not text")
    texts = [caption.strip() for caption in captions]
    if not any(texts):
        raise wrong("its captions are blank")
    listing.blank += texts.count("")
    image = (name, identity, split)
    listing.repeated += image in listing.captions
    before = listing.captions.get(image, [])
    listing.captions[image] = before + [text for text in texts if text and text not in before]


def _notes(listing: Listing) -> list[str]:
    notes = []
    if listing.blank:
        notes.append(f"Blank captions are left out: {listing.blank:,}.")
    if listing.repeated:
        notes.append(f"Entries of an image that is listed already, their captions added to it: {listing.repeated:,}.")
    several = len(listing.captions) - len({name for name, _, _ in listing.captions})
    if several:
        notes.append(f"Careful: images listed again under another id or in another split: {several:,}.")
    return notes


def _is_text(value: Any) -> bool:
    """Text that can be written as UTF-8; JSON can also spell half of a surrogate pair."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: Any) -> str:
    return json.dumps(value)[:60]


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _layout(family: Family) -> Layout:
    return Layout(
        name=family.name,
        summary=f"images with captions, listed in {family.lists[0]}: {family.title}",
        recognise=lambda path: _list_of(family, path) is not None,
        read=partial(read, family),
        aliases=(family.name.replace("-", ""),) if "-" in family.name else ("rstp", "rstp-reid"),
    )


LAYOUTS = tuple(_layout(family) for family in (CUHK_PEDES, ICFG_PEDES, RSTPREID))
