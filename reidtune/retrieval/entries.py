"""What an index has a row for: the images of a folder, or its samples of several modalities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reidtune.data.modality import ALIASES, in_order, modality_name
from reidtune.data.samples import align
from reidtune.data.scan import show
from reidtune.errors import DataError, SettingsError, did_you_mean
from reidtune.retrieval.files import Listing, Stamp, list_images

ABSENT: Stamp = (-2, -2, -2)  # a modality that a sample does not have


@dataclass(frozen=True)
class Entries:
    """``names`` of N images or samples, sorted; ``files`` [N][M]: their names relative to the folder, ``None`` where a
    modality is missing; ``stamps`` int64 [N, M, 3], :data:`ABSENT` there. M is 1 for images. ``notes`` are sentences
    for the user."""

    names: list[str]
    files: list[tuple[str | None, ...]]
    stamps: np.ndarray
    notes: tuple[str, ...] = ()


def list_entries(
    listing: Listing, modalities: Sequence[str] = (), modality: str | None = None, folder: str = ""
) -> Entries:
    """The images of a listing, or, with ``modalities``, its samples; ``folder`` is what the listed folder is called.

    Samples lie in folders that are called after modalities (``RGB/7.jpg`` and ``NI/7.jpg``; also deeper down:
    ``test/RGB/7.jpg``, ``0007/vis/1.jpg``) and are joined by their paths without that folder. Where there are no such
    folders, or ``modality`` says so, every image is a sample of ``modality`` alone, by default of the one that the
    listed folder is called after, else of the first one.

    Raises:
        DataError: the folders are all of other modalities, or two files would be the same image of a sample.
    """
    found = {} if modality is not None or not modalities else _by_modality(listing.files, modalities)
    if not found:
        return _single(listing.files, modalities, modality, modality_name(folder))
    known = {name: found[name] for name in modalities if name in found}
    others = [name for name in in_order(found) if name not in known]
    if not known:
        raise DataError(
            f"The folder holds images of the modalities {', '.join(others)}, and the model knows only "
            f"{', '.join(modalities)}.",
            "Say --modality where they are images of one of these.",
        )
    notes = []
    if others:
        notes.append(f"The model does not know the modality {', '.join(others)}: these images are left out.")
    if outside := len(listing.files) - sum(len(files) for files in found.values()):
        images, verb = ("1 image lies", "counts") if outside == 1 else (f"{outside:,} images lie", "count")
        notes.append(f"{images} outside of the folders of modalities and {verb} for nothing.")
    names, files = [], []
    for name, there in align(known):
        names.append(name)
        files.append(tuple(there.get(modality) for modality in modalities))
    if len(known) > 1 and all(sum(file is not None for file in there) == 1 for there in files):
        notes.append("No sample has two modalities, since no file name occurs in two folders: each image stands alone.")
    return Entries(names, files, _stamps(listing.files, files), tuple(notes))


def modalities_for(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The modalities of a folder for a model that has none: those after which its folders are called, else the ones
    that were named, in their usual order.

    Raises:
        DataError: there is no such folder.
        SettingsError: a name that is no known modality, and the folder tells of none.
    """
    found = _folders_of(list_images(folder).files)
    if len(found) > 1:
        return found
    for name in names:
        if name and modality_name(name) not in ALIASES:
            raise SettingsError(
                f'"{name}" is no known modality.{did_you_mean(name, ALIASES)}',
                "Known ones are rgb, nir and tir; a delta trained on multi-modal data brings its own.",
            )
    return in_order([*found, *(modality_name(name) for name in names if name)])


def _single(files: Mapping[str, Stamp], modalities: Sequence[str], modality: str | None, folder: str) -> Entries:
    names, notes = list(files), []
    several = _folders_of(files)
    if modality is None and modalities:
        modality = folder if folder in modalities else modalities[0]
        why = "as the folder is called so" if folder == modality else "as nothing else is said"
        notes.append(f"Every image counts as {modality}, {why}; --modality NAME says another.")
    elif len(several) > 1 and modalities:
        notes.append(f"Every image counts as {modality}, also those in the folders of {', '.join(several)}.")
    elif len(several) > 1:
        notes.append(
            f"Every image is searched alone, also in the folders of {', '.join(several)}: to search samples, name the "
            f"query's images, as in --image {several[0]}=FILE."
        )
    there = [name == modality for name in modalities] or [True]
    rows = [tuple(name if here else None for here in there) for name in names]
    return Entries(names, rows, _stamps(files, rows), tuple(notes))


def _folders_of(files: Iterable[str]) -> tuple[str, ...]:
    """The known modalities after which folders of these files are called, in their usual order."""
    folders = {file.rpartition("/")[0] for file in files}
    names = {modality_name(part) for folder in folders for part in folder.split("/")}
    return in_order(name for name in ALIASES if name in names)


def _by_modality(files: Iterable[str], own: Sequence[str]) -> dict[str, dict[str, str]]:
    """``{modality: {path without the modality's folder: file}}`` of all files that lie in such a folder; empty where
    that is a single modality and others lie elsewhere: a folder may be called ``color`` for other reasons."""
    found: dict[str, dict[str, str]] = {}
    outside = 0
    for file in files:
        *folders, last = file.split("/")
        for place, folder in enumerate(folders):
            name = modality_name(folder)
            if name in own or name in ALIASES:
                key = "/".join((*folders[:place], *folders[place + 1 :], last))
                other = found.setdefault(name, {}).setdefault(key, file)
                if other != file:
                    raise DataError(
                        f'"{show(other)}" and "{show(file)}" are both the {name} image of the same sample.',
                        f"Keep one of them, or search one folder with --modality {name}.",
                    )
                break
        else:
            outside += 1
    return {} if len(found) == 1 and outside else found


def _stamps(files: Mapping[str, Stamp], rows: Sequence[tuple[str | None, ...]]) -> np.ndarray:
    width = len(rows[0]) if rows else 1
    stamps = [ABSENT if name is None else files[name] for row in rows for name in row]
    return np.array(stamps, dtype=np.int64).reshape(-1, width, 3)
