"""Tiny image files, written by the tests themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image

from reidtune.data import ImageFile, Record


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """``put("a/b.png", "c.jpg")`` writes small images below the temporary folder and returns that folder."""

    def write(*names: str) -> Path:
        for number, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 12), (number * 20 % 256, 100, 200)).save(path)
        return tmp_path

    return write


@pytest.fixture
def photos(tmp_path: Path) -> Callable[[int], list[Record]]:
    """Records of images with a different gradient each, identities 1, 1, 2, 2, …"""

    def make(number: int) -> list[Record]:
        records = []
        for index in range(number):
            image = Image.linear_gradient("L").resize((20, 40)).rotate(17 * index)
            path = tmp_path / f"{index}.png"
            Image.merge("RGB", (image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image)).save(path)
            records.append(Record((ImageFile(path),), index // 2 + 1))
        return records

    return make


def record(identity: int, camera: int | None = None, name: str = "x.png") -> Record:
    return Record((ImageFile(Path(name)),), identity, camera)


def names(records: Iterable[Record]) -> list[str]:
    return [record.path.name for record in records]


def captioned(identity: int, *captions: str, camera: int | None = None, name: str = "x.png") -> Record:
    return Record((ImageFile(Path(name)),), identity, camera, captions=captions)


@pytest.fixture
def market(put):
    """``market("a", people=4)``: Market-1501's names, two images of each person from each of two cameras."""

    def make(name, people=4, cams=2):
        files = [
            f"{p:04d}_c{c}s1_{k:06d}_00.png" for p in range(1, people + 1) for c in range(1, cams + 1) for k in (1, 2)
        ]
        folders = ("bounding_box_train", "bounding_box_test", "query")
        put(*[f"{name}/{folder}/{file}" for folder in folders for file in files])
        return put() / name

    return make
