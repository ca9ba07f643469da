"""A folder a vehicle and in it one a modality: MSVR310 and WMVeID863, which is also known as MSVWild863.

``bounding_box_train/0019/{vis,ni,th}/0019_s012_v0_000.jpg`` is vehicle 19 in scene 12 from view 0 (MSVR310, Zheng et
al., Information Fusion 2023); the names of the three folders agree. In WMVeID863 (Zheng et al., Information Fusion
2025) the folder says which vehicle it is, and the name from which view: ``v3``. The view is the camera of the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reidtune.data.layouts.assemble import assemble, number_names, resolve_splits
from reidtune.data.layouts.describe import named, unnamed
from reidtune.data.layouts.registry import Layout
from reidtune.data.layouts.spectral import sample_record, several_modalities
from reidtune.data.record import Dataset, Record
from reidtune.data.samples import Sample, align, files_by_modality, holds_modalities, modality_folders
from reidtune.data.scan import Skipped, show, some_subfolders, subfolders
from reidtune.errors import DataError

MSVR310_NAME = re.compile(r"(\d{4})_s(\d{3})_v(\d)_")
MSVR310_FOLDERS = {"train": "bounding_box_train", "query": "query3", "gallery": "bounding_box_test"}
WILD_FOLDERS = {"train": "train", "val": "val", "query": "query", "gallery": "gallery", "test": "test"}
VIEW = re.compile(r"v(\d)")
LOOKED_AT = 5  # vehicles of a split, to recognise it; without splits all of them must hold modalities


@dataclass
class Found:
    """Samples by vehicle folder, and what is to be told of them."""

    samples: list[tuple[str, Sample]] = field(default_factory=list)
    by_order: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def recognise_msvr310(path: Path) -> bool:
    return (path / MSVR310_FOLDERS["query"]).is_dir() or _recognise(path, MSVR310_FOLDERS)


def recognise_wmveid863(path: Path) -> bool:
    """Splits of such folders, or the folders alone where there are several: two may well be two datasets."""
    if _recognise(path, WILD_FOLDERS):
        return True
    first = some_subfolders(path)[:LOOKED_AT] if path.is_dir() else []
    return len(first) == LOOKED_AT and all(map(holds_modalities, first))


def read_msvr310(path: Path, protocol: str | None = None) -> Dataset:
    """The dataset at ``path``, under the protocol ``cross-scene`` unless another is asked for.

    Raises ``DataError`` where no name tells vehicle, scene and view.
    """
    skipped, unmatched, misplaced = Skipped(), list[str](), 0
    parts: dict[str, list[Record]] = {}
    for split, folder in _there(path, MSVR310_FOLDERS).items():
        parts[split] = []
        for vehicle, (name, files) in _by_name(folder, skipped):
            match = MSVR310_NAME.match(name.rpartition("/")[2])
            if match is None:
                unmatched.append(name)
                continue
            identity, scene, view = map(int, match.groups())
            misplaced += vehicle.isdecimal() and int(vehicle) != identity
            parts[split].append(sample_record(files, identity, view, scene))
    if not any(parts.values()):
        some = f", only such as {show(unmatched[0])}" if unmatched else ""
        raise DataError(
            f'"{show(path)}" holds no images named as 0019_s012_v0_000.jpg in folders of vehicles{some}.',
            "Check the path, and that the archive was unpacked completely.",
        )
    notes = unnamed(unmatched, "vehicle, scene and view")
    if misplaced:
        notes.append(f"Careful: samples in the folder of another vehicle than they are named after: {misplaced:,}.")
    return _dataset(path, "msvr310", "MSVR310", parts, protocol, [*notes, *skipped.notes()], default="cross-scene")


def read_wmveid863(path: Path, protocol: str | None = None) -> Dataset:
    """The dataset at ``path``. Names that agree say which files belong together. Where a modality of a vehicle has none
    of the others' names, as many files and the same views, the sorted order does; else the vehicle is left out.

    Raises ``DataError`` where no vehicle has images.
    """
    skipped, parts, found = Skipped(), dict[str, list[Record]](), dict[str, Found]()
    for split, folder in (_there(path, WILD_FOLDERS) or {"": path}).items():
        found[split] = _matched(folder, skipped)
    numbers = number_names(vehicle for split in found.values() for vehicle, _ in split.samples)
    for split, vehicles in found.items():
        parts[split] = [
            sample_record(files, numbers[vehicle], _view(name)) for vehicle, (name, files) in vehicles.samples
        ]
    apart = [told for vehicles in found.values() for told in vehicles.apart]
    if not any(parts.values()):
        raise DataError(
            f'"{show(path)}" holds no samples in folders of vehicles, such as train/0001/vis'
            + (f"; {apart[0]} cannot be aligned." if apart else "."),
            "Check the path, and that the archive was unpacked completely.",
        )
    by_order = [vehicle for vehicles in found.values() for vehicle in vehicles.by_order]
    notes = [
        *named("Vehicles whose modalities have other file names, aligned in sorted order", by_order),
        *named("Vehicles left out, since neither names nor order tell which files belong together", apart),
        *named("Folders without images in folders of modalities", [v for split in found.values() for v in split.empty]),
    ]
    names = {number: name for name, number in numbers.items() if number > 0}
    return _dataset(path, "wmveid863", "WMVeID863", parts, protocol, [*notes, *skipped.notes()], names=names)


def _recognise(path: Path, folders: Mapping[str, str]) -> bool:
    if not path.is_dir():
        return False
    splits = _there(path, folders).values()
    return any(holds_modalities(vehicle) for split in splits for vehicle in some_subfolders(split)[:LOOKED_AT])


def _there(path: Path, folders: Mapping[str, str]) -> dict[str, Path]:
    return {split: path / name for split, name in folders.items() if (path / name).is_dir()}


def _by_name(folder: Path, skipped: Skipped) -> Iterator[tuple[str, Sample]]:
    for vehicle in subfolders(folder):
        for sample in align(files_by_modality(modality_folders(vehicle), skipped)):
            yield vehicle.name, sample


def _matched(folder: Path, skipped: Skipped) -> Found:
    found = Found()
    for vehicle in subfolders(folder):
        files = {name: there for name, there in files_by_modality(modality_folders(vehicle), skipped).items() if there}
        samples, place = align(files), f"{folder.name}/{vehicle.name}"
        if not samples:
            found.empty.append(place)
        if not _names_agree(samples, list(files)):
            ordered = _in_order(files)
            if ordered is None:
                counts = ", ".join(f"{name} {len(there)}" for name, there in files.items())
                found.apart.append(f"{place} with {counts}")
                continue
            samples = ordered
            found.by_order.append(place)
        found.samples += [(vehicle.name, sample) for sample in samples]
    return found


def _names_agree(samples: list[Sample], modalities: list[str]) -> bool:
    """Whether each modality shares a name with another."""
    shared = {name for _, files in samples if len(files) > 1 for name in files}
    return len(modalities) < 2 or shared == set(modalities)


def _in_order(files: Mapping[str, Mapping[str, Path]]) -> list[Sample] | None:
    """The files of all modalities in the order of their names, where counts and views agree."""
    if len({len(there) for there in files.values()}) > 1:
        return None
    samples: list[Sample] = []
    for names in zip(*(sorted(there) for there in files.values()), strict=True):
        if len({_view(name) for name in names} - {None}) > 1:
            return None
        samples.append((names[0], {name: files[name][file] for name, file in zip(files, names, strict=True)}))
    return samples


def _view(name: str) -> int | None:
    match = VIEW.search(name.rpartition("/")[2])
    return int(match[1]) if match else None


def _dataset(
    path: Path,
    layout: str,
    title: str,
    parts: dict[str, list[Record]],
    protocol: str | None,
    notes: list[str],
    *,
    default: str | None = None,
    names: dict[int, str] | None = None,
) -> Dataset:
    modalities = several_modalities(path, parts.values())
    train, query, gallery, split_notes = resolve_splits(parts, path, one="sample", protocol=protocol or default)
    return assemble(
        path,
        layout,
        title,
        train,
        query,
        gallery,
        protocol=protocol or (default if query else None),
        notes=[*split_notes, *notes],
        names=names,
        task="multimodal",
        modalities=modalities,
    )


LAYOUTS = (
    Layout(
        name="msvr310",
        summary="a folder a vehicle with vis, ni, th, names with scene and view: MSVR310",
        recognise=recognise_msvr310,
        read=read_msvr310,
    ),
    Layout(
        name="wmveid863",
        summary="a folder a vehicle with vis, ni, th: WMVeID863, MSVWild863",
        recognise=recognise_wmveid863,
        read=read_wmveid863,
        aliases=("msvwild863",),
    ),
)
