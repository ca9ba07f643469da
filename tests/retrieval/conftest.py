"""A folder of pictures that differ, and records of one colour each."""

import math

import pytest
from PIL import Image

from reidtune.data.record import ImageFile, Record


@pytest.fixture
def paint():
    """Write a picture whose pixels follow from ``number``."""

    def write(path, number, size=(20, 40)):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = bytes((number * 37 + place * (number + 3)) % 256 for place in range(size[0] * size[1] * 3))
        Image.frombytes("RGB", size, pixels).save(path, "PNG")
        return path

    return write


@pytest.fixture
def photos(tmp_path, paint):
    folder = tmp_path / "photos"
    for number, name in enumerate(["a.png", "b.png", "deep/c.png", "deep/d.png", "e é 人.png", "f.png", "g.png"]):
        paint(folder / name, number)
    return folder


@pytest.fixture
def person(tmp_path):
    """A record whose feature lies at ``angle`` degrees."""

    def make(identity, angle, camera=None, scene=None):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        red, green = (round(250 * part(math.radians(angle))) for part in (math.cos, math.sin))
        Image.new("RGB", (6, 12), (red, green, 0)).save(path)
        return Record((ImageFile(path),), identity, camera, scene)

    return make


@pytest.fixture
def sample(person):
    """A record whose modalities lie at the given angles."""

    def make(identity, **angles):
        images = tuple(person(identity, angle).images[0] for angle in angles.values())
        return Record(images, identity, modalities=tuple(angles))

    return make
