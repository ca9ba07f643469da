"""Files that are made to harm, or that few programs write."""

from __future__ import annotations

import shutil
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from reidtune.data import ImageFile, check_files, read_image
from reidtune.data.image import check_header, read_header
from reidtune.data.record import Record
from reidtune.errors import DataError


def png(path, size, depth, kind, rows):
    """A PNG of that size (width, height), bit depth and colour type; ``rows`` are its bytes, a filter byte a row."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return ImageFile(path)


@pytest.mark.parametrize(("width", "said"), [(12_000, "has 12,000 × 12,000 pixels"), (40_000, "has more than the")])
@pytest.mark.parametrize("strict", [False, True])
def test_a_small_file_of_a_huge_image_is_refused_by_its_header(tmp_path, width, said, strict):
    bomb = png(tmp_path / "bomb.png", (width, width), 8, 2, b"")
    for look in (read_image, check_header, lambda file: read_header(file.path)):
        with warnings.catch_warnings():
            warnings.simplefilter("error" if strict else "ignore")  # with the first, Pillow's warning is its exception
            with pytest.raises(DataError, match=r"bomb\.png. has .* pixels") as error:
                look(bomb)
        assert strict or said in error.value.message


def test_text_that_unpacks_to_gigabytes_is_damage(tmp_path):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    whole = png(tmp_path / "x.png", (1, 1), 8, 2, b"\0\1\2\3").path
    raw, text = whole.read_bytes(), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000)))
    whole.write_bytes(raw[:33] + text + raw[33:])
    with pytest.raises(DataError, match=r"x\.png. is damaged"):
        read_image(ImageFile(whole))


def test_no_program_is_started_for_a_file(tmp_path, monkeypatch):
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started a program"))
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    for look in (read_image, check_header):
        with pytest.raises(DataError, match=r"photo\.jpg. is not an image, or of a format"):
            look(ImageFile(path))


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "gif", "webp", "tif", "ppm"])
def test_the_content_decides_and_not_the_ending(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    Image.new("RGB", (8, 8), (200, 40, 40)).save(path)
    other = tmp_path / ("x.png" if ending == "jpg" else "x.jpg")
    shutil.move(path, other)
    assert np.allclose(read_image(ImageFile(other)).getpixel((3, 3)), (200, 40, 40), atol=3)


@pytest.mark.parametrize(
    ("kind", "pixel", "expected"),
    [
        (0, (0x8040,), (0x80, 0x80, 0x80)),
        (2, (0x8040, 0x4020, 0xFF00), (0x80, 0x40, 0xFF)),
        (4, (0x8040, 0xFFFF), (0x80, 0x80, 0x80)),
        (4, (0x0000, 0x0000), (0xFF, 0xFF, 0xFF)),
        (6, (0x8040, 0x4020, 0xFF00, 0xFFFF), (0x80, 0x40, 0xFF)),
        (6, (0x8040, 0x4020, 0xFF00, 0x0000), (0xFF, 0xFF, 0xFF)),
    ],
)
def test_every_16_bit_png_keeps_its_upper_bits(tmp_path, kind, pixel, expected):
    row = b"\0" + struct.pack(f">{len(pixel)}H", *pixel) * 4
    assert read_image(png(tmp_path / "x.png", (4, 4), 16, kind, row * 4)).getpixel((1, 2)) == expected


def test_half_transparent_pixels_mix_with_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "x.png")
    assert np.allclose(read_image(ImageFile(tmp_path / "x.png")).getpixel((0, 0)), (255, 127, 127), atol=1)


@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
@pytest.mark.parametrize(
    ("ink", "colour"),
    [((0, 255, 255, 0), (255, 0, 0)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))],
)
def test_inks_are_the_colours_they_print(tmp_path, name, ink, colour):
    Image.new("CMYK", (16, 16), ink).save(tmp_path / name)
    if name == "x.jpg":
        assert b"Adobe" in (tmp_path / name).read_bytes()  # which says that the values are stored inverted
    assert np.allclose(read_image(ImageFile(tmp_path / name)).getpixel((8, 8)), colour, atol=3)


def test_links_in_a_circle_and_names_of_any_kind_are_told_in_one_line(tmp_path):
    (tmp_path / "a\nb\u202e.png").symlink_to(tmp_path / "a\nb\u202e.png")
    with pytest.raises(DataError) as error:
        check_files([Record((ImageFile(tmp_path / "a\nb\u202e.png"),), 1)])
    assert error.value.message.splitlines()[1].endswith(r'a\nb\u202e.png" is a link that leads in a circle.')
