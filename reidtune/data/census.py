"""Counting a split: identities, images, cameras, image sizes, captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from reidtune.data.look import Look
from reidtune.data.record import Dataset, Record, cameras, identities

SQUASHED = (128, 256)  # width and height that most models of the field take
MOST_SIZES = 5  # sizes that are named


def splits_of(dataset: Dataset) -> dict[str, Sequence[Record]]:
    """The records by split, empty ones left out: ``train``, ``val``, then ``test`` where one list is query and gallery,
    else ``query`` and ``gallery``."""
    splits: dict[str, Sequence[Record]] = {"train": dataset.train, "val": dataset.validation}
    if dataset.query is dataset.gallery:
        splits["test"] = dataset.query
    else:
        splits |= {"query": dataset.query, "gallery": dataset.gallery}
    return {name: records for name, records in splits.items() if records}


def census(records: Sequence[Record], looks: Mapping[Path, Look], modalities: Sequence[str] = ()) -> dict[str, Any]:
    """What ``records`` are, as the object of a split in ``reidtune data --json``.

    ``samples`` are records, ``images`` their image files or crops; ``samples_per_identity`` leaves junk and distractors
    out, ``single`` counts identities with one sample, ``one_camera`` those seen by a single one. ``sizes`` are of the
    images that can be read.
    """
    people: dict[int, list[Record]] = {}
    for record in records:
        if record.identity > 0:
            people.setdefault(record.identity, []).append(record)
    seen_by = [cameras(group) for group in people.values()]
    counts = [len(group) for group in people.values()]
    known = cameras(records)
    scenes = {record.scene for record in records} - {None}
    captions = sum(len(record.captions) for record in records)
    return {
        "identities": len(people),
        "samples": len(records),
        "images": sum(len(record.images) for record in records),
        "cameras": len(known) or None,
        "scenes": len(scenes) or None,
        "captions": captions or None,
        "junk": sum(record.identity < 0 for record in records),
        "distractors": sum(record.identity == 0 for record in records),
        "samples_per_identity": spread(counts) | {"single": sum(count == 1 for count in counts)},
        "one_camera": sum(len(seen) == 1 for seen in seen_by) if len(known) > 1 else None,
        **({"modalities": _modalities(records, modalities)} if modalities else {}),
        "sizes": sizes(_shapes(records, looks)),
    }


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """``min``, ``median`` and ``max``; of nothing, ``None``."""
    if not values:
        return {"min": None, "median": None, "max": None}
    return {"min": min(values), "median": median(values), "max": max(values)}


def sizes(shapes: Sequence[tuple[int, int]]) -> dict[str, Any] | None:
    """What sizes ``shapes`` (width, height, in pixels) are; ``aspect`` is height over width. ``None`` of nothing.

    ``squashed`` compares with 256 × 128 (height × width): ``widened`` is by how much the median image becomes wider
    against its height (2: twice), ``enlarged`` by how much its area grows (its square root: a length).
    """
    if not shapes:
        return None
    frequent = Counter(shapes).most_common()
    widths, heights = ([shape[side] for shape in shapes] for side in (0, 1))
    aspects = [height / width for width, height in shapes]
    width, height = SQUASHED
    return {
        "different": len(frequent),
        "most_frequent": [{"width": w, "height": h, "images": count} for (w, h), count in frequent[:MOST_SIZES]],
        "width": spread(widths),
        "height": spread(heights),
        "aspect": spread(aspects),
        "squashed": {
            "width": width,
            "height": height,
            "widened": median(aspects) * width / height,
            "enlarged": (width * height / median(w * h for w, h in shapes)) ** 0.5,
        },
    }


def every(dataset: Dataset) -> list[Record]:
    """All records once, also where lists share them."""
    seen: dict[int, Record] = {}
    for records in splits_of(dataset).values():
        seen.update((id(record), record) for record in records)
    return list(seen.values())


def _shapes(records: Iterable[Record], looks: Mapping[Path, Look]) -> list[tuple[int, int]]:
    shapes = []
    for record in records:
        for image in record.images:
            look = looks[image.path]
            if look.sizes:
                shapes.append(look.sizes[look.images.index(image)])
    return shapes


def _modalities(records: Sequence[Record], names: Sequence[str]) -> dict[str, Any]:
    return {name: sum(name in record.modalities for record in records) for name in names}


def overlap(one: Iterable[Record], other: Iterable[Record]) -> list[int]:
    """Identities on both sides, in order."""
    return sorted(identities(one) & identities(other))
