"""File names that carry identity and camera: Market-1501, DukeMTMC-reID, CUHK03-NP, VeRi-776 and their like.

``0002_c1s1_000451_03.jpg`` is identity 2 from camera 1 (Market-1501, Zheng et al., ICCV 2015), ``0005_c2_f0046985.jpg``
(DukeMTMC-reID), ``0003_c1_2.png`` (CUHK03-NP) and ``0002_c002_00030600_0.jpg`` (VeRi-776) read alike. Identity −1 is
junk and 0 a distractor: both stay in the gallery and out of training and queries.

The 500,000 further distractors of Market-1501 unpack to a folder ``images`` beside the others. They make another test
of it: the layout ``market1501`` leaves them out and says so, ``market1501-500k`` adds them to the gallery.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from reidtune.data.layouts.assemble import assemble
from reidtune.data.layouts.describe import unnamed
from reidtune.data.layouts.registry import Layout
from reidtune.data.record import Dataset, ImageFile, Record
from reidtune.data.scan import Skipped, images_in, show, some_images
from reidtune.errors import DataError

LOOKED_AT = 200  # file names
NAME, WITH_DISTRACTORS = "market1501", "market1501-500k"
PATTERN = re.compile(r"(-1|\d+)_c(\d+)")
FOLDERS = (  # train, query, gallery
    ("bounding_box_train", "query", "bounding_box_test"),
    ("image_train", "image_query", "image_test"),
    ("train", "query", "gallery"),
    ("train", "query", "test"),
)
DISTRACTORS = ("images", "distractors_500k", "distractors")
TITLES = (
    ("CUHK03-NP", re.compile(r"\d{4}_c\d_\d+\.png$")),
    ("DukeMTMC", re.compile(r"\d{4}_c\d_f\d+")),
    ("VeRi-776", re.compile(r"\d+_c\d{3}_")),
    ("Market-1501", re.compile("")),
)


def recognise(path: Path) -> bool:
    """The folders of one of the datasets, or file names of which most match (200 are looked at)."""
    if not path.is_dir():
        return False
    folders = _folders(path)
    if folders is not None:
        return folders[2].startswith(("bounding_box", "image")) or any(
            _names_match(path / name) for name in folders if (path / name).is_dir()
        )
    return _names_match(path)


def read(path: Path, protocol: str | None = None, *, distractors: bool = False) -> Dataset:
    """The dataset at ``path``, with or without the ``distractors`` of its folder ``images``.

    Raises ``DataError`` where a folder is missing or no name matches.
    """
    skipped, unmatched = Skipped(), list[Path]()
    folders = _folders(path)
    if folders is None:
        records = _records(path, skipped, unmatched)
        notes = ["One flat folder: every image is query and gallery."]
        parts = {"train": [], "query": records, "gallery": records}
        sample = records
    else:
        if folders[2] == "test" and not (path / folders[1]).is_dir():
            folders = (folders[0], "test", "test")
        _complete(path, folders)
        there = [name for name in dict.fromkeys(folders) if (path / name).is_dir()]
        found = {name: _records(path / name, skipped, unmatched) for name in there}
        parts = {split: found.get(name, []) for split, name in zip(("train", "query", "gallery"), folders, strict=True)}
        notes = []
        if folders[1] == folders[2]:
            notes.append('Every image of "test" is query and gallery.')
        sample = parts["train"] or parts["query"]
    if not any(parts.values()):
        if unmatched:
            raise DataError(
                f'No file name in "{show(path)}" tells identity and camera, as 0002_c1s1_000451_03.jpg does: '
                f'{len(unmatched):,} images such as "{show(unmatched[0].name)}".',
                "Sort the images into one folder an identity, or list them in a table (CSV or JSONL).",
            )
        raise DataError(
            f'"{show(path)}" holds no images.', "Check the path, and that the archive was unpacked completely."
        )
    extra = next((path / name for name in DISTRACTORS if (path / name).is_dir()), None)
    if distractors:
        parts["gallery"] = [*parts["gallery"], *_distractors(path, extra, skipped, unmatched, notes)]
    elif extra is not None and folders is not None and folders[2] == "bounding_box_test":
        notes.append(f'"{extra.name}" is not read; --layout {WITH_DISTRACTORS} adds it to the gallery as distractors.')
    notes += unnamed([file.name for file in unmatched])
    title = next(name for name, pattern in TITLES if pattern.match(sample[0].path.name)) if sample else TITLES[-1][0]
    return assemble(
        path,
        WITH_DISTRACTORS if distractors else NAME,
        f"{title} names",
        parts["train"],
        parts["query"],
        parts["gallery"],
        protocol=protocol,
        notes=[*notes, *skipped.notes()],
    )


def _folders(path: Path) -> tuple[str, str, str] | None:
    """The naming of which most folders are there; one of ``query``, ``train``, ``test`` alone tells nothing."""
    best, most = None, 0
    for names in FOLDERS:
        there = [name for name in names if (path / name).is_dir()]
        if len(there) > most and (len(there) > 1 or "_" in there[0]):
            best, most = names, len(there)
    return best


def _complete(path: Path, folders: tuple[str, str, str]) -> None:
    query, gallery = ((path / name).is_dir() for name in folders[1:])
    if query != gallery:
        have, missing = (folders[1], folders[2]) if query else (folders[2], folders[1])
        raise DataError(
            f'"{show(path)}" has "{have}" but no "{missing}".',
            f'Add "{missing}"; queries and gallery are read from folders of their own.',
        )


def _names_match(folder: Path) -> bool:
    looked_at = [bool(PATTERN.match(file.name)) for file in some_images(folder, LOOKED_AT)]
    return 2 * sum(looked_at) > len(looked_at)


def _records(folder: Path, skipped: Skipped, unmatched: list[Path]) -> list[Record]:
    records = []
    for file in images_in(folder, skipped):
        match = PATTERN.match(file.name)
        if match is None:
            unmatched.append(file)
        else:
            records.append(Record((ImageFile(file),), int(match[1]), camera=int(match[2])))
    return records


def _distractors(
    path: Path, folder: Path | None, skipped: Skipped, unmatched: list[Path], notes: list[str]
) -> list[Record]:
    """The images of ``folder``, all of nobody, whatever their names say; junk stays junk."""
    if folder is None or not (path / "bounding_box_test").is_dir():
        missing = "bounding_box_test" if folder else f'folder of distractors, "{DISTRACTORS[0]}"'
        raise DataError(
            f'"{show(path)}" has no {missing}.', f"Unpack the archive of distractors there, or use --layout {NAME}."
        )
    records = [
        record if record.identity < 0 else replace(record, identity=0)
        for record in _records(folder, skipped, unmatched)
    ]
    notes.append(f'"{folder.name}" is added to the gallery: {len(records):,} images.')
    return records


LAYOUTS = (
    Layout(
        name=NAME,
        summary="identity and camera in the file names: Market-1501, DukeMTMC, CUHK03-NP, VeRi-776",
        recognise=recognise,
        read=read,
        aliases=("dukemtmc", "dukemtmcreid", "dukemtmc-reid", "cuhk03-np", "veri776", "veri-776"),
    ),
    Layout(
        name=WITH_DISTRACTORS,
        summary="Market-1501 with the 500,000 distractors of the folder images in the gallery",
        recognise=recognise,
        read=partial(read, distractors=True),
    ),
)
