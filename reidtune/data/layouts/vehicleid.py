"""Lists of images with vehicle numbers, without cameras: PKU VehicleID (Liu et al., CVPR 2016).

``train_test_split/train_list.txt`` has lines such as ``0000001 5``: ``image/0000001.jpg`` shows vehicle 5. Tests come
in sizes: ``test_list_800.txt`` (small), ``1600`` (medium), ``2400`` (large), and ``3200``, ``6000`` and ``13164``,
which the paper does not use. Each is scored as the paper does, under the protocol ``random-gallery``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from reidtune.data.layouts.assemble import assemble, number_names
from reidtune.data.layouts.lists import Files, read_list
from reidtune.data.layouts.registry import Layout
from reidtune.data.record import Dataset, ImageFile, Record
from reidtune.data.scan import Skipped, show
from reidtune.errors import DataError

IMAGES, SPLIT, TRAIN = "image", "train_test_split", "train_list.txt"
SIZES = (800, 1600, 2400, 3200, 6000, 13164)


def recognise(path: Path) -> bool:
    """The folder of lists with one of them in it."""
    return any((path / SPLIT / name).is_file() for name in (TRAIN, *map(_test, SIZES)))


def read(path: Path, protocol: str | None = None, *, size: int | None = None) -> Dataset:
    """The dataset at ``path`` with the test list of ``size`` vehicles, by default the smallest that is there.

    Raises ``DataError`` where a list or folder is missing, a line cannot be read, or none of its images exists.
    """
    there = [one for one in SIZES if (path / SPLIT / _test(one)).is_file()]
    lists = [TRAIN] if (path / SPLIT / TRAIN).is_file() else []
    if size is not None and size not in there:
        others = f"; there are {', '.join(map(_test, there))}" if there else ""
        raise DataError(
            f'"{show(path / SPLIT)}" has no {_test(size)}{others}.',
            f"Choose {' or '.join(f'--layout {_name(one)}' for one in there)}." if there else "Add it.",
        )
    if not (lists or there):
        raise DataError(
            f'"{show(path)}" has no {SPLIT}/{TRAIN} and no {SPLIT}/{_test(SIZES[0])}, the lists of VehicleID.',
            "Check the path, and that the archive was unpacked completely.",
        )
    if not (path / IMAGES).is_dir():
        raise DataError(
            f'"{show(path)}" has the lists of VehicleID but no folder "{IMAGES}".',
            "Check that the archive was unpacked completely.",
        )
    notes: list[str] = []
    chosen = size or next(iter(there), SIZES[0])
    if there:
        lists.append(_test(chosen))
        choices = [f"--layout {_name(one)}" for one in there if one != chosen]
        notes.append(f"The test split is {_test(chosen)}{'; others: ' + ', '.join(choices) if choices else ''}.")
    skipped = Skipped()
    files, rows = Files(path / IMAGES, skipped), {name: read_list(path / SPLIT / name) for name in lists}
    numbers = number_names(str(row.identity) for part in rows.values() for row in part)  # 0 would be a distractor
    parts: dict[str, list[Record]] = {}
    for name, part in rows.items():
        found, missing = files.find(path / SPLIT / name, part, suffix=".jpg")
        notes += missing
        parts[name] = [
            Record((ImageFile(file),), numbers[str(row.identity)]) for file, row in zip(found, part, strict=True)
        ]
    test = parts.get(lists[-1], []) if there else []
    return assemble(
        path,
        _name(chosen),
        "VehicleID lists",
        parts.get(TRAIN, []),
        test,
        test,
        protocol=protocol or "random-gallery",
        notes=[*notes, *skipped.notes()],
        names={number: name for name, number in numbers.items() if number > 0 and str(number) != name},
    )


def _test(size: int) -> str:
    return f"test_list_{size}.txt"


def _name(size: int) -> str:
    return "vehicleid" if size == SIZES[0] else f"vehicleid-{size}"


LAYOUTS = tuple(
    Layout(
        name=_name(size),
        summary=f"image and train_test_split: VehicleID, tested on {size:,} vehicles",
        recognise=recognise,
        read=read if size == SIZES[0] else partial(read, size=size),
    )
    for size in SIZES
)
