"""The data model: a record is one sample, a dataset is its records by split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image on disk; ``crop`` is ``(left, top, right, bottom)`` in pixels where a file holds several images, and
    ``size`` the width and height that the whole file must have for the crop to be right."""

    path: Path
    crop: tuple[int, int, int, int] | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One sample: its image file(s), whose it is, and what is known of where it was taken.

    ``images`` is aligned with ``modalities``; a sample of multi-modal data may lack some of its dataset's.
    ``identity`` −1 means junk (dropped from a gallery) and 0 a distractor (an ordinary gallery item that no query looks
    for), as in Market-1501. ``camera`` and ``scene`` are ``None`` where the layout does not tell.
    """

    images: tuple[ImageFile, ...]
    identity: int
    camera: int | None = None
    scene: int | None = None
    modalities: tuple[str, ...] = ("rgb",)
    captions: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The file of the first modality."""
        return self.images[0].path


@dataclass(frozen=True)
class Part:
    """One of several datasets that were joined: which identities are its own, and its manifest."""

    identities: range
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Dataset:
    """What a folder holds. ``query`` and ``gallery`` are the test split; equal lists mean that every image is both.

    ``modalities`` are those of multi-modal data, in the order in which features are joined; a record has some of them
    or all. Of task ``text``, the captions of ``query`` look for the images of ``gallery``. ``validation`` is the
    layout's own validation split, where a layout of that task has one: query and gallery alike.

    ``identity_names`` gives the folder or table name of each integer identity where the layout has names, and
    ``camera_names`` and ``scene_names`` those of cameras and scenes where it numbers names: another table of the same
    layout gives them other numbers.
    ``sentence`` says what was recognised, for the user. ``parts`` are the datasets that :func:`reidtune.data.join.join`
    joined.
    """

    root: Path
    layout: str
    task: str  # image | text | multimodal
    protocol: str
    train: Sequence[Record]
    query: Sequence[Record]
    gallery: Sequence[Record]
    sentence: str
    identity_names: dict[int, str] = field(default_factory=dict)
    validation: Sequence[Record] = ()
    modalities: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    camera_names: dict[int, str] = field(default_factory=dict)
    scene_names: dict[int, str] = field(default_factory=dict)

    def manifest(self) -> dict[str, Any]:
        """Counts and a hash (SHA-256, hex) of the records: file names relative to the root, identities, cameras with
        their names.

        The hash does not depend on where the folder lies, nor on pixels. That of joined datasets is made of theirs,
        which are in ``datasets``, in order.
        """
        if self.parts:
            hashes = "\n".join(part.manifest["hash"] for part in self.parts)
            return {
                "layout": self.layout,
                "task": self.task,
                "hash": hashlib.sha256(hashes.encode()).hexdigest(),
                **({"modalities": list(self.modalities)} if self.modalities else {}),
                "train": _counts(self.train),
                "datasets": [{key: part.manifest[key] for key in ("layout", "hash", "train")} for part in self.parts],
            }
        splits = {"train": self.train, "query": self.query, "gallery": self.gallery}
        if self.validation:
            splits["val"] = self.validation
        digest = hashlib.sha256()
        for name, records in splits.items():
            for record in records:
                files = [f"{_relative(image.path, self.root)}{image.crop or ''}" for image in record.images]
                if self.modalities:
                    files = [f"{name}={file}" for name, file in zip(record.modalities, files, strict=True)]
                line = [name, *files, str(record.identity), str(record.camera), str(record.scene)]
                digest.update(("\t".join([*line, *record.captions]) + "\n").encode("utf-8", "surrogateescape"))
        for kind, known in (("camera", self.camera_names), ("scene", self.scene_names)):
            for number, called in sorted(known.items()):
                digest.update(f"{kind} name\t{number}\t{called}\n".encode("utf-8", "surrogateescape"))
        return {
            "layout": self.layout,
            "task": self.task,
            "hash": digest.hexdigest(),
            **({"modalities": list(self.modalities)} if self.modalities else {}),
            **{name: _counts(records) for name, records in splits.items()},
        }


def identities(records: Iterable[Record]) -> set[int]:
    """The identities that occur, junk (−1) and distractors (0) left out."""
    return {record.identity for record in records if record.identity > 0}


def cameras(records: Iterable[Record]) -> set[int]:
    """The cameras that occur, unknown ones left out."""
    return {record.camera for record in records if record.camera is not None}


def knows_several(records: Iterable[Record], place: str = "camera") -> bool:
    """Whether the ``place`` (``camera`` or ``scene``) of every record is known, and there are two or more."""
    values = {getattr(record, place) for record in records}
    return None not in values and len(values) > 1


def _counts(records: Sequence[Record]) -> dict[str, int]:
    return {"images": len(records), "identities": len(identities(records)), "cameras": len(cameras(records))}


def _relative(path: Path, root: Path) -> str:
    text, above = os.fspath(path), os.path.join(root, "")  # noqa: PTH118  (100,000 times)
    if text.startswith(above):
        return text[len(above) :].replace(os.sep, "/")
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.name
