"""Lists of images with identities, the camera in the file name: MSMT17 (Wei et al., CVPR 2018), V1 and V2.

``list_train.txt`` has lines such as ``0000/0000_000_01_0303morning_0008_0.jpg 0``: a file below ``train`` (V1) or
``mask_train_v2`` (V2, faces masked), identity 0, camera 1 of 15. ``list_query.txt`` and ``list_gallery.txt`` count
their identities from 0 again, those of other people, below ``test`` or ``mask_test_v2``.

``list_val.txt`` has further images of the training identities. Validated on these, a training would be praised for
faces it has learned: they train, as in CLIP-ReID, and validation is carved from the training identities. The layout
``msmt17-train`` leaves them out, as torchreid and fast-reid do.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from reidtune.data.layouts.assemble import assemble
from reidtune.data.layouts.describe import images
from reidtune.data.layouts.lists import Files, Listed, bad_line, read_list
from reidtune.data.layouts.registry import Layout
from reidtune.data.record import Dataset, ImageFile, Record
from reidtune.data.scan import Skipped, show
from reidtune.errors import DataError

VERSIONS = (("V1", "train", "test"), ("V2", "mask_train_v2", "mask_test_v2"))
TRAIN, VAL, QUERY, GALLERY = "list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt"
CAMERA = re.compile(r"[^_]+_[^_]+_(\d+)_")  # the third field of the base name


def recognise(path: Path) -> bool:
    """The lists of training, or those of query and gallery."""
    return (path / TRAIN).is_file() or all((path / name).is_file() for name in (QUERY, GALLERY))


def read(path: Path, protocol: str | None = None, *, name: str = "msmt17") -> Dataset:
    """The dataset at ``path``. Identities of training are numbered from 1, those of the test split behind them;
    ``identity_names`` says what the lists call them.

    Raises ``DataError`` where a list or folder is missing, a line cannot be read, or none of its images exists.
    """
    names = [file for file in (TRAIN, VAL, QUERY, GALLERY) if (path / file).is_file()]
    if (QUERY in names) != (GALLERY in names):
        have, missing = (QUERY, GALLERY) if QUERY in names else (GALLERY, QUERY)
        raise DataError(f'"{show(path)}" has {have} but no {missing}.', "Add it; a test split needs both.")
    if not set(names) & {TRAIN, QUERY}:
        raise DataError(f'"{show(path)}" has no {TRAIN} and no {QUERY}, the lists of MSMT17.', "Check the path.")
    lists = {file: read_list(path / file) for file in names}
    version, *folders = _version(path, lists)
    skipped, notes = Skipped(), _other_version(path, version)
    files = [Files(path / folder, skipped) for folder in folders]
    first = 1 + max((row.identity for file in (TRAIN, VAL) for row in lists.get(file, ())), default=-1)
    records: dict[str, list[Record]] = {}
    people: dict[int, str] = {}
    for list_name, rows in lists.items():
        side = int(list_name in (QUERY, GALLERY))
        list_file = path / list_name
        paths, absent = files[side].find(list_file, rows)
        notes += absent
        # Both sides count from 0, which would be a distractor, and mean different people.
        start = 1 + side * first
        records[list_name] = [
            Record((ImageFile(file),), start + row.identity, camera=_camera(list_file, row))
            for file, row in zip(paths, rows, strict=True)
        ]
        people |= {start + row.identity: f"{folders[side]}/{row.identity:04}" for row in rows}
    train, val = records.get(TRAIN, []), records.get(VAL, [])
    if val:
        notes.insert(0, _about_val(train, val, used=name == "msmt17"))
    if name == "msmt17":
        train = [*train, *val]
    used = {record.identity for part in (train, *records.values()) if part is not val for record in part}
    return assemble(
        path,
        name,
        f"MSMT17 {version} lists",
        train,
        records.get(QUERY, []),
        records.get(GALLERY, []),
        protocol=protocol,
        notes=[*notes, *skipped.notes()],
        names={identity: person for identity, person in people.items() if identity in used},
    )


def _version(path: Path, lists: dict[str, list[Listed]]) -> tuple[str, str, str]:
    """The version whose folders are there; of both, the one that has the first image of the first list."""
    there = [one for one in VERSIONS if any((path / folder).is_dir() for folder in one[1:])]
    if not there:
        folders = " and ".join(f'"{train}" and "{test}" ({version})' for version, train, test in VERSIONS)
        raise DataError(
            f'"{show(path)}" has the lists of MSMT17 but neither of its folders: {folders}.',
            "Check that the archive was unpacked completely.",
        )
    file, rows = next(iter(lists.items()))
    side = 2 if file == QUERY else 1
    return next((one for one in there if (path / one[side] / rows[0].name).is_file()), there[0])


def _other_version(path: Path, version: str) -> list[str]:
    """A note where the folders of the other version are there too: its images are not read."""
    return [
        f'Careful: {other} is there too ("{folders[0]}"), but the lists are read as those of {version}; for {other}, '
        f"move the folders of {version} elsewhere."
        for other, *folders in VERSIONS
        if other != version and (path / folders[0]).is_dir()
    ]


def _camera(file: Path, row: Listed) -> int:
    match = CAMERA.match(row.name.rpartition("/")[2])
    if match is None:
        raise bad_line(
            file, row.line, f"{show(row.name)} tells no camera, as 0000_000_01_0303morning_0008_0.jpg tells 1"
        )
    return int(match[1])


def _about_val(train: list[Record], val: list[Record], used: bool) -> str:
    known = {record.identity for record in train}
    both = len(known & {record.identity for record in val})
    if not used:
        return f"{VAL} ({images(val)}) is left out; --layout msmt17 trains on it too."
    return (
        f"{VAL} ({images(val)}, {both:,} of its identities also in {TRAIN}) trains too, since it cannot tell how "
        "well strangers are found; validation is carved from the training identities. --layout msmt17-train leaves it "
        "out."
    )


LAYOUTS = (
    Layout(
        name="msmt17",
        summary="list_train.txt, list_val.txt, list_query.txt, list_gallery.txt: MSMT17 V1 and V2",
        recognise=recognise,
        read=read,
    ),
    Layout(
        name="msmt17-train",
        summary="MSMT17 without list_val.txt in training",
        recognise=recognise,
        read=partial(read, name="msmt17-train"),
    ),
)
