from __future__ import annotations

from pathlib import Path

import pytest

from reidtune.data import ImageFile, Record, check_files
from reidtune.data import image as image_module
from reidtune.errors import DataError

open_image = image_module.Image.open


def test_good_files_pass_and_progress_ends_at_the_total(photos):
    calls = []
    check_files(photos(3), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(3, 3)]


def test_bad_files_are_counted_once_each_and_five_are_named(photos, tmp_path):
    records = photos(2)
    for number in range(7):
        (tmp_path / f"bad{number}.png").write_bytes(b"" if number % 2 else b"text")
        records += [Record((ImageFile(tmp_path / f"bad{number}.png"),), 1)] * 2
    with pytest.raises(DataError) as error:
        check_files(records)
    message = error.value.message
    assert message.startswith("7 image files of 9 cannot be read")
    assert [f"bad{number}.png" in message for number in range(7)] == [True] * 5 + [False] * 2
    assert message.endswith("… and 2 more.")
    assert "empty (0 bytes)" in message
    assert "not an image" in message


def test_every_modality_is_looked_at(photos):
    good = photos(1)[0].images[0]
    with pytest.raises(DataError, match=r"1 image file of 2 .*\n.*gone\.png"):
        check_files([Record((good, ImageFile(Path("gone.png"))), 1, modalities=("rgb", "thermal"))])


def test_a_file_of_several_images_is_opened_once_and_each_crop_is_looked_at(photos, monkeypatch):
    path = photos(1)[0].path  # 20 × 40 pixels
    left, right = ImageFile(path, (0, 0, 10, 40), (20, 40)), ImageFile(path, (10, 0, 20, 40), (20, 40))
    strip = Record((left, right), 1, modalities=("rgb", "nir"))
    opened = []
    monkeypatch.setattr(
        image_module.Image, "open", lambda path, **more: opened.append(path) or open_image(path, **more)
    )
    calls = []
    check_files([strip, strip], progress=lambda *done: calls.append(done))
    assert (calls, opened) == ([(1, 1)], [path])
    with pytest.raises(DataError, match=r"The crop \(10, 0, 30, 40\) is not within .*0\.png. of 20 × 40 pixels"):
        check_files([Record((ImageFile(path, (0, 0, 10, 40)), ImageFile(path, (10, 0, 30, 40))), 1)])
    with pytest.raises(DataError, match=r"0\.png. has 20 × 40 pixels instead of 30 × 40"):
        check_files([Record((left, ImageFile(path, (10, 0, 20, 40), (30, 40))), 1)])
