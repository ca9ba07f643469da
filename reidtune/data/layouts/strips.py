"""All modalities of a sample side by side in one file: RGBNT100 and RGBN300 (Li et al., AAAI 2020).

``rgbir/bounding_box_train/0561_c0001_006.jpg`` shows vehicle 561 from camera 1. It is 768 × 128 pixels in RGBNT100,
where each third is an image, visible, near-infrared and thermal, and 512 × 128 in RGBN300, which has no thermal ones.
"""

from __future__ import annotations

import re
from pathlib import Path

from reidtune.data.layouts.assemble import assemble, resolve_splits
from reidtune.data.layouts.describe import unnamed
from reidtune.data.layouts.registry import Layout
from reidtune.data.modality import NIR, RGB, TIR
from reidtune.data.record import Dataset, ImageFile, Record
from reidtune.data.scan import Skipped, images_in, show, some_images
from reidtune.errors import DataError

NAME = re.compile(r"(-1|\d+)_c(\d+)")
OWN_NAME = re.compile(r"\d{4}_c\d{4}_\d")
INSIDE = "rgbir"
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
WIDTH, HEIGHT = 256, 128  # of one image
STRIPS = {
    (3 * WIDTH, HEIGHT): ("RGBNT100", (RGB, NIR, TIR)),
    (2 * WIDTH, HEIGHT): ("RGBN300", (RGB, NIR)),
}


def recognise(path: Path) -> bool:
    """A folder ``rgbir`` of Market-1501's folders, or such folders whose first image has a strip's name and size."""
    if not path.is_dir() or not (folders := _folders(_root(path))):
        return False
    if _root(path).name == INSIDE:
        return True
    first = next(iter(some_images(folders[0], 1)), None)
    if first is None or OWN_NAME.match(first.name) is None:
        return False
    try:
        return _size(first) in STRIPS
    except DataError:
        return False


def read(path: Path, protocol: str | None = None) -> Dataset:
    """The dataset at ``path``. The first file's width says how many images each file holds; the size of the others is
    part of their records and checked when they are, or when they are read.

    Raises ``DataError`` where that file is no strip of either dataset, or no name tells identity and camera.
    """
    root, skipped = _root(path), Skipped()
    files = {split: images_in(root / name, skipped) for split, name in FOLDERS.items() if (root / name).is_dir()}
    named = {split: [(file, NAME.match(file.name)) for file in found] for split, found in files.items()}
    first = next((file for found in named.values() for file, match in found if match), None)
    if first is None:
        raise DataError(
            f'"{show(root)}" holds no images whose names tell identity and camera, as 0561_c0001_006.jpg does, in '
            f"{', '.join(FOLDERS.values())}.",
            "Check the path, and that the archive was unpacked completely.",
        )
    size = _size(first)
    if size not in STRIPS:
        sizes = " or ".join(f"{width} × {height} ({name})" for (width, height), (name, _) in STRIPS.items())
        raise DataError(
            f'"{show(first)}" has {size[0]:,} × {size[1]:,} pixels; a strip of images side by side has {sizes}.',
            "Give the archive as it was published; images of one modality are read with --layout market1501.",
        )
    title, modalities = STRIPS[size]
    crops = [(place * WIDTH, 0, (place + 1) * WIDTH, HEIGHT) for place in range(len(modalities))]
    parts: dict[str, list[Record]] = {split: [] for split in named}
    for split, found in named.items():
        for file, match in found:
            if match is not None:
                images = tuple(ImageFile(file, crop, size) for crop in crops)
                parts[split].append(Record(images, int(match[1]), camera=int(match[2]), modalities=modalities))
    train, query, gallery, notes = resolve_splits(parts, root, one="sample", protocol=protocol)
    unmatched = [file.name for found in named.values() for file, match in found if match is None]
    notes += unnamed(unmatched)
    return assemble(
        root,
        LAYOUT.name,
        f"{title} strips",
        train,
        query,
        gallery,
        protocol=protocol,
        notes=[*notes, *skipped.notes()],
        task="multimodal",
        modalities=modalities,
    )


def _root(path: Path) -> Path:
    return path / INSIDE if (path / INSIDE).is_dir() else path


def _folders(root: Path) -> list[Path]:
    return [root / name for name in FOLDERS.values() if name != "query" and (root / name).is_dir()]


def _size(file: Path) -> tuple[int, int]:
    from reidtune.data.image import image_size  # imports Pillow

    return image_size(file)


LAYOUT = Layout(
    name="rgbnt100",
    summary="the modalities side by side in one file, in a folder rgbir: RGBNT100, RGBN300",
    recognise=recognise,
    read=read,
    aliases=("rgbn300",),
)
