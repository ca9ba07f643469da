"""One folder a modality in each split, names that carry identity and camera: RGBNT201 and Market1501-MM.

``train_171/{RGB,NI,TI}/000028_cam1_0_02.jpg`` is identity 28 from camera 1 (RGBNT201, Zheng et al., AAAI 2021); the
same name in the three folders is one sample. ``test`` is query and gallery. Market1501-MM (Wang et al., AAAI 2022) has
``train``, ``query`` and ``gallery`` with Market-1501's names, and its junk and distractors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from reidtune.data.layouts.assemble import assemble, resolve_splits
from reidtune.data.layouts.describe import unnamed
from reidtune.data.layouts.registry import Layout
from reidtune.data.modality import in_order
from reidtune.data.record import Dataset, ImageFile, Record
from reidtune.data.samples import align, files_by_modality, holds_modalities, modality_folders
from reidtune.data.scan import Skipped, show, subfolders
from reidtune.errors import DataError

NAME = re.compile(r"(-1|\d+)_c(?:am)?(\d+)")
TITLES = (
    ("RGBNT201 names", re.compile(r"\d{6}_cam\d_")),
    ("Market1501-MM names", re.compile(r"(-1|\d{4})_c\ds\d_")),
    ("Modality folders", re.compile("")),
)
FOLDERS = {  # of several folders for one split the first counts
    "train": ("train_171", "train", "bounding_box_train"),
    "val": ("val",),
    "query": ("query",),
    "gallery": ("gallery", "bounding_box_test"),
    "test": ("test",),
}


def recognise(path: Path) -> bool:
    """Folders of splits that hold folders of two known modalities, or those of the modalities themselves."""
    return path.is_dir() and any(map(holds_modalities, [path, *_split_folders(path).values()]))


def read(path: Path, protocol: str | None = None) -> Dataset:
    """The dataset at ``path``. A sample whose file is missing in one modality is a record of the others.

    Raises ``DataError`` where no name tells identity and camera, or all images are of one modality.
    """
    skipped, unmatched = Skipped(), list[str]()
    folders = {split: folder for split, folder in _split_folders(path).items() if modality_folders(folder)}
    found = {split: _records(folder, skipped, unmatched) for split, folder in (folders or {"": path}).items()}
    if not any(found.values()):
        if unmatched:
            raise DataError(
                f'No file name in "{show(path)}" tells identity and camera, as 000028_cam1_0_02.jpg does: '
                f"{len(unmatched):,} samples such as {show(unmatched[0])}.",
                "List the files in a table (CSV or JSONL) with the columns path, identity and modality.",
            )
        raise DataError(
            f'"{show(path)}" holds no images in folders of modalities, such as train_171/RGB.',
            "Check the path, and that the archive was unpacked completely.",
        )
    modalities = several_modalities(path, found.values())
    notes = unnamed(unmatched)
    unused = [folder.name for folder in subfolders(path) if folders and folder not in folders.values()]
    if unused:
        notes.append(f"Folders that are not read: {', '.join(show(name) for name in unused)}.")
    first = next(record for records in found.values() for record in records).path.name
    title = next(name for name, pattern in TITLES if pattern.match(first))
    train, query, gallery, split_notes = resolve_splits(found, path, one="sample", protocol=protocol)
    return assemble(
        path,
        LAYOUT.name,
        title,
        train,
        query,
        gallery,
        protocol=protocol,
        notes=[*split_notes, *notes, *skipped.notes()],
        task="multimodal",
        modalities=modalities,
    )


def several_modalities(path: Path, splits: Iterable[Iterable[Record]]) -> tuple[str, ...]:
    """The modalities that the records of all ``splits`` have. Raises ``DataError`` where it is only one."""
    names = in_order({name: None for records in splits for record in records for name in record.modalities})
    if len(names) < 2:
        raise DataError(
            f'"{show(path)}" holds images of one modality only: {", ".join(names)}.',
            "Check that the archive was unpacked completely, or give the folder of that modality alone.",
        )
    return names


def sample_record(files: Mapping[str, Path], identity: int, camera: int | None, scene: int | None = None) -> Record:
    """One record of the files of a sample, which are in the order of their modalities."""
    images = tuple(ImageFile(file) for file in files.values())
    return Record(images, identity, camera=camera, scene=scene, modalities=tuple(files))


def _split_folders(path: Path) -> dict[str, Path]:
    found = {split: [path / name for name in names if (path / name).is_dir()] for split, names in FOLDERS.items()}
    return {split: folders[0] for split, folders in found.items() if folders}


def _records(folder: Path, skipped: Skipped, unmatched: list[str]) -> list[Record]:
    records = []
    for name, files in align(files_by_modality(modality_folders(folder), skipped)):
        match = NAME.match(name.rpartition("/")[2])
        if match is None:
            unmatched.append(name)
        else:
            records.append(sample_record(files, int(match[1]), int(match[2])))
    return records


LAYOUT = Layout(
    name="rgbnt201",
    summary="one folder a modality in each split, names with identity and camera: RGBNT201, Market1501-MM",
    recognise=recognise,
    read=read,
    aliases=("market1501-mm", "market1501mm"),
)
