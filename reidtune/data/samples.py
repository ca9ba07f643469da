"""Samples of several modalities: one folder a modality, the files of a sample called alike in each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from reidtune.data.modality import ALIASES, in_order, modality_name, without_word
from reidtune.data.scan import Skipped, images_below, show, some_subfolders, subfolders
from reidtune.errors import DataError

File = TypeVar("File")
Sample = tuple[str, dict[str, Path]]  # its name, and its file by modality


def samples_below(folder: Path) -> list[Sample] | None:
    """The samples of a folder that holds one folder a modality, at least two of them known ones; else ``None``.

    A sample is its name, a path relative to the folders of the modalities with the suffix of its first file, and its
    files by modality, joined as by :func:`align`. Raises ``DataError`` where two folders are of the same modality.
    """
    folders = modality_folders(folder)
    return align(files_by_modality(folders)) if len(folders) > 1 else None


def holds_modalities(folder: Path) -> bool:
    """Whether ``folder`` holds folders of two known modalities or more, as far as a quick look tells."""
    return len({modality_name(child.name) for child in some_subfolders(folder)} & set(ALIASES)) > 1


def modality_folders(folder: Path) -> dict[str, Path]:
    """The folders directly inside ``folder`` that are called after a known modality: ``{"rgb": folder/"RGB", …}``, in
    the order of :func:`reidtune.data.modality.in_order`. Raises ``DataError`` where two are of the same modality."""
    found: dict[str, Path] = {}
    for child in subfolders(folder):
        name = modality_name(child.name)
        if name in found:
            raise DataError(
                f'"{show(folder)}" has two folders of the modality {name}: "{show(found[name].name)}" and '
                f'"{show(child.name)}".',
                "Keep one of them, or list the files in a table (CSV or JSONL) with a column modality.",
            )
        if name in ALIASES:
            found[name] = child
    return {name: found[name] for name in in_order(found)}


def files_by_modality(folders: Mapping[str, Path], skipped: Skipped | None = None) -> dict[str, dict[str, Path]]:
    """All images below the folder of each modality: ``{modality: {path relative to its folder: file}}``."""
    return {
        name: {file.relative_to(folder).as_posix(): file for file in images_below(folder, skipped)}
        for name, folder in folders.items()
    }


def align(files: Mapping[str, Mapping[str, File]]) -> list[tuple[str, dict[str, File]]]:
    """The samples of ``{modality: {name: file}}``, in the order of their names; a modality without a file of that name
    is missing in the sample.

    Suffixes do not count, nor, where that joins more files, a modality's own word at the end of its names
    (``7_nir.png`` in the folder NIR belongs to sample 7). Where two files of one modality would be of the same sample,
    names count as they are.
    """
    ways = [
        {modality: {rule(modality, name): name for name in names} for modality, names in files.items()}
        for rule in (_without_suffix, _without_word, _whole)
    ]
    clear = [way for way in ways if all(len(way[modality]) == len(names) for modality, names in files.items())]
    named = min(clear, key=lambda way: len({key for keys in way.values() for key in keys}))
    samples: dict[str, dict[str, File]] = {}
    for key in {key: None for keys in named.values() for key in keys}:
        there = {modality: keys[key] for modality, keys in named.items() if key in keys}
        first = next(iter(there.values()))
        title = key if key == first else key + first[len(_without_suffix("", first)) :]
        samples[title] = {modality: files[modality][name] for modality, name in there.items()}
    return sorted(samples.items())


def _without_word(modality: str, name: str) -> str:
    return without_word(_without_suffix(modality, name), modality)


def _without_suffix(modality: str, name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)  # 300,000 times: no Path objects


def _whole(modality: str, name: str) -> str:
    return name
