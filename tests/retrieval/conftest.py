"""A folder of pictures that differ, and a model that counts what it embeds."""

import pytest
from PIL import Image


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
