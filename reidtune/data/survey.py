"""What a dataset is and what is wrong with it: the object that ``reidtune data --json`` prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reidtune.data.caption_lengths import caption_lengths
from reidtune.data.census import census, every, splits_of
from reidtune.data.duplicates import MOST_BITS, MOST_DIFFERENCE, near_duplicates, same_bytes
from reidtune.data.file_findings import Owners, broken_files, copies, odd_files
from reidtune.data.findings import ERROR, WARNING, Finding, below, counted, in_order, some
from reidtune.data.label_findings import label_findings, scored_queries
from reidtune.data.look import Look, look_at_files
from reidtune.data.record import Dataset, ImageFile, Record, identities
from reidtune.data.scan import show

Progress = Callable[[int, int], None]
Printed = tuple[ImageFile, tuple[int, bytes]]


def survey_dataset(dataset: Dataset, *, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Look at the labels and at every file of a dataset; nothing is changed on disk.

    With ``quick`` only labels, headers and the bytes of files of equal size are read and no image is decoded: damage
    behind the headers, near-duplicates and flat images are not seen, and captions are counted in words. ``progress``
    is told (files done, files in all).

    Returns an object of plain values: ``schema`` 1, ``data`` (the folder), ``layout``, ``task``, ``protocol``,
    ``sentence``, ``modalities``, ``quick``, ``splits`` (:func:`reidtune.data.census.census` by name), ``files``,
    ``queries``, ``captions``, ``near_duplicates``, ``findings``, ``verdict``, ``seconds``; sizes in pixels and bytes.
    What is wrong with the data is a finding, not an exception.
    """
    clock = _Clock()
    looks = look_at_files(every(dataset), decode=not quick, progress=progress)
    clock.lap("headers" if quick else "decode")
    good = [look for look in looks.values() if look.problem is None]
    groups = same_bytes((look.path, look.bytes) for look in good)
    clock.lap("copies")
    near, near_finding = (None, []) if quick else _near(dataset, looks, groups)
    clock.lap("near_duplicates")
    splits = splits_of(dataset)
    captions = caption_lengths(_captioned(dataset), tokens=not quick) if dataset.task == "text" else None
    clock.lap("captions")
    findings = in_order(
        [
            *broken_files(dataset, looks),
            *label_findings(dataset, captions),
            *copies(dataset, groups, _owners(splits)),
            *near_finding,
            *odd_files(dataset, looks),
        ]
    )
    scored = scored_queries(dataset) if dataset.query else None
    return {
        "schema": 1,
        "data": show(dataset.root),
        "layout": dataset.layout,
        "task": dataset.task,
        "protocol": dataset.protocol,
        "sentence": dataset.sentence,
        "modalities": list(dataset.modalities),
        "quick": quick,
        "splits": {name: census(split, looks, dataset.modalities) for name, split in splits.items()},
        "files": {
            "total": len(looks),
            "bytes": sum(look.bytes for look in looks.values()),
            "broken": len(looks) - len(good),
            "decoded": 0 if quick else len(good),
        },
        "queries": None
        if scored is None
        else {
            "total": scored.queries,
            "absent": len(scored.absent),
            "ignored": len(scored.ignored),
            "identities_lost": len(scored.lost),
        },
        "captions": captions,
        "near_duplicates": near,
        "findings": [finding.to_json() for finding in findings],
        "verdict": _verdict(dataset, looks, findings),
        "seconds": clock.seconds,
    }


class _Clock:
    """Seconds of each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = round(now - self._last, 3)
        self._last = now


def _verdict(dataset: Dataset, looks: Mapping[Path, Look], findings: Sequence[Finding]) -> dict[str, Any]:
    """Whether the data can be trained on and evaluated as it is; a split that is not there is no error."""
    errors = [finding for finding in findings if finding.level == ERROR]
    kinds = {finding.kind for finding in errors}

    def whole(*splits: Sequence[Record]) -> bool:
        return all(looks[image.path].problem is None for split in splits for r in split for image in r.images)

    trainable = len(identities(dataset.train)) > 1 and "no-training-captions" not in kinds
    evaluable = bool(dataset.query) and "nothing-scored" not in kinds
    return {
        "trainable": trainable and whole(dataset.train, dataset.validation),
        "evaluable": evaluable and whole(dataset.query, dataset.gallery),
        "errors": len(errors),
        "warnings": sum(finding.level == WARNING for finding in findings),
    }


def _owners(splits: Mapping[str, Sequence[Record]]) -> Owners:
    of: dict[Path, set[tuple[str, int, str]]] = {}
    for name, records in splits.items():
        for record in records:
            for image, modality in zip(record.images, record.modalities, strict=True):
                of.setdefault(image.path, set()).add((name, record.identity, modality))
    return Owners(of)


def _captioned(dataset: Dataset) -> list[Record]:
    """Records that should have captions: gallery images that no caption looks for need none."""
    lists = (dataset.train, dataset.validation, dataset.query)
    return list({id(record): record for records in lists for record in records}.values())


def _near(
    dataset: Dataset, looks: Mapping[Path, Look], groups: Sequence[Sequence[Path]]
) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Near-duplicates between training and test images of the same modality, those of the same bytes left out."""
    if not dataset.train or not dataset.query:
        return None, []
    copy_of = {path: number for number, group in enumerate(groups) for path in group}
    pairs: list[tuple[Path, Path]] = []
    complete = True
    for modality in dataset.modalities or ("",):
        train = list(_prints(dataset.train, looks, modality))
        test = list(_prints([*dataset.query, *dataset.gallery], looks, modality))
        found, whole = near_duplicates([print_ for _, print_ in train], [print_ for _, print_ in test])
        complete &= whole
        for one, other in found.tolist():
            paths = train[one][0].path, test[other][0].path
            if paths[0] != paths[1] and copy_of.get(paths[0], -1) != copy_of.get(paths[1], -2):
                pairs.append(paths)
    images = len({other for _, other in pairs})
    result = {
        "bits": MOST_BITS,
        "difference": MOST_DIFFERENCE,
        "pairs": len(pairs),
        "complete": complete,
        "train_images": len({one for one, _ in pairs}),
        "test_images": images,
    }
    if not pairs:
        return result, []
    at_least = "" if complete else "At least "
    finding = Finding(
        WARNING,
        "near-duplicates",
        images,
        f"{at_least}{counted(images, 'test image looks', 'test images look')} nearly like a training image "
        f"({counted(len(pairs), 'pair')}). A hint, from small prints: at most {MOST_BITS} of 64 bits of a difference "
        f"hash and on average {MOST_DIFFERENCE:g} of 255 apart.",
        "Look at the pairs; take those that are the same picture out of one side.",
        some(f"{below(one, dataset.root)} ~ {below(other, dataset.root)}" for one, other in pairs),
    )
    return result, [finding]


def _prints(records: Sequence[Record], looks: Mapping[Path, Look], modality: str) -> Iterator[Printed]:
    """Each image once with what is compared of it; flat ones say nothing and are left out."""
    seen = set()
    for record in records:
        for image, name in zip(record.images, record.modalities, strict=True):
            if modality not in ("", name) or image in seen:
                continue
            seen.add(image)
            look = looks[image.path]
            if look.problem is None:
                found = look.prints[look.images.index(image)]
                if not found.flat:
                    yield image, (found.bits, found.thumbnail)
