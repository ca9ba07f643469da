from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from PIL import Image
from PIL import ImageFile as PillowFile

from reidtune.data import ImageFile, Record
from reidtune.data.look import look_at, look_at_files, print_of


@pytest.fixture
def decoding(monkeypatch):
    """Every call that decodes pixels."""
    calls = []
    load = PillowFile.ImageFile.load
    monkeypatch.setattr(PillowFile.ImageFile, "load", lambda self: calls.append(self.filename) or load(self))
    return calls


def noise(seed, size=(48, 96)):
    values = np.random.default_rng(seed).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def test_a_look_tells_size_mode_and_print_of_each_file_once(photos, tmp_path):
    records = photos(3)
    grey = tmp_path / "grey.png"
    noise(1).convert("L").save(grey)
    records += [Record((ImageFile(grey),), 5)] * 2
    calls = []
    looks = look_at_files(records, progress=lambda *done: calls.append(done))
    assert [path.name for path in looks] == ["0.png", "1.png", "2.png", "grey.png"]
    assert calls == [(4, 4)]
    look = looks[grey]
    assert (look.mode, look.sizes, look.problem, look.turned) == ("L", [(48, 96)], None, False)
    assert look.bytes == grey.stat().st_size
    assert not look.prints[0].flat


def test_without_decoding_no_pixel_is_read(photos, decoding, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(1).save(tmp_path / "turned.png", exif=exif)
    noise(1).save(tmp_path / "turned.jpg", exif=exif)
    records = [*photos(2), *(Record((ImageFile(tmp_path / f"turned.{end}"),), 1) for end in ("png", "jpg"))]
    decoding.clear()
    looks = list(look_at_files(records, decode=False).values())
    assert decoding == []
    assert [look.prints for look in looks] == [[]] * 4
    assert [look.sizes for look in looks[1:]] == [[(20, 40)], [(96, 48)], [(96, 48)]]
    assert [look.turned for look in looks] == [False, False, True, True]
    look_at_files(records)
    assert decoding


def test_an_orientation_behind_the_pixels_is_seen_by_decoding(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(1).save(tmp_path / "x.png", exif=exif)
    data = (tmp_path / "x.png").read_bytes()
    start = data.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(data[start : start + 4], "big")
    (tmp_path / "x.png").write_bytes(data[:start] + data[stop:-12] + data[start:stop] + data[-12:])
    look = look_at((ImageFile(tmp_path / "x.png"),))
    assert (look.turned, look.sizes) == (True, [(96, 48)])


def test_what_cannot_be_read_is_said_and_stops_nothing(tmp_path):
    names = ("empty", "text", "cut", "gone", "circle", "pipe", "folder", "good")
    paths = {name: tmp_path / f"{name}.jpg" for name in names}
    paths["empty"].write_bytes(b"")
    paths["text"].write_text("no image")
    noise(1, (200, 300)).save(paths["good"])
    paths["cut"].write_bytes(paths["good"].read_bytes()[:-600])
    paths["circle"].symlink_to(paths["circle"])
    paths["folder"].mkdir()
    os.mkfifo(paths["pipe"])
    records = [Record((ImageFile(path),), 1) for path in paths.values()]
    looks = look_at_files(records)
    problems = {name: looks[path].problem or "" for name, path in paths.items()}
    for name, words in (
        ("empty", "is empty"),
        ("text", "is not an image"),
        ("cut", "is damaged"),
        ("gone", "does not exist"),
        ("circle", "leads in a circle"),
        ("pipe", "is no file but a pipe"),
        ("folder", "is a folder"),
    ):
        assert words in problems[name]
        assert f"{name}.jpg" in problems[name]
    assert problems["good"] == ""
    assert look_at((ImageFile(paths["cut"]),), decode=False).problem is None  # the header is whole


def test_crops_have_their_own_size_and_print(tmp_path):
    strip = Image.new("RGB", (96, 48), "red")
    strip.paste(noise(1, (48, 48)), (48, 0))
    strip.save(tmp_path / "strip.png")
    crops = tuple(ImageFile(tmp_path / "strip.png", (left, 0, left + 48, 48), (96, 48)) for left in (0, 48))
    look = look_at(crops)
    assert look.sizes == [(48, 48), (48, 48)]
    assert [image.flat for image in look.prints] == [True, False]
    assert look.prints[1] == print_of(noise(1, (48, 48)))
    wrong = look_at((ImageFile(tmp_path / "strip.png", (0, 0, 48, 48), (99, 48)),))
    assert "instead of 99 × 48" in (wrong.problem or "")


def test_a_bit_of_the_print_is_set_where_grey_rises_to_the_right():
    rising = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90).convert("RGB")
    assert print_of(rising).bits == 2**64 - 1
    assert print_of(rising.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).bits == 0
    half = Image.new("RGB", (9, 8))
    half.putpixel((1, 0), (255, 255, 255))  # the first row rises once, at its first place
    assert print_of(half).bits == 1 << 63


def test_flat_allows_for_the_noise_of_a_jpeg_and_no_more():
    image = Image.new("RGB", (20, 20), (100, 100, 100))
    image.putpixel((3, 3), (108, 100, 100))
    assert print_of(image).flat
    image.putpixel((3, 3), (109, 100, 100))
    assert not print_of(image).flat


def test_remarks_of_pillow_are_not_printed(tmp_path, recwarn):
    warnings.simplefilter("always")
    image = Image.new("P", (8, 8))
    image.info["transparency"] = bytes([0, 128])
    image.save(tmp_path / "p.png", transparency=bytes([0, 128]))
    look_at_files([Record((ImageFile(tmp_path / "p.png"),), 1)])
    assert [str(one.message) for one in recwarn if "alette" in str(one.message)] == []
