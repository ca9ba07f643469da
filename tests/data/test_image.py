from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from reidtune.data import ImageFile, read_image
from reidtune.data import image as image_module
from reidtune.data.image import check_header, image_size, read_header, to_rgb
from reidtune.errors import DataError


def save(tmp_path, image, name="x.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return ImageFile(path)


def corner(image):
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (10, 20), "red")
    image.paste("blue", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    turned = read_image(save(tmp_path, image, exif=exif))
    assert turned.size == (20, 10)
    assert turned.getpixel((2, 5)) == (255, 0, 0)
    assert turned.getpixel((17, 5)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "YCbCr", "RGB"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    name = "x.jpg" if mode in ("CMYK", "YCbCr") else "x.png"
    image = Image.new("RGB", (16, 16), "white").convert(mode)
    assert min(corner(read_image(save(tmp_path, image, name)))) > 250


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_lie_on_white(tmp_path, mode):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
    assert corner(read_image(save(tmp_path, clear))) == (255, 255, 255)


def test_a_transparent_palette_colour_lies_on_white(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((3, 3), 1)
    read = read_image(save(tmp_path, image, transparency=0))
    assert (corner(read), read.getpixel((3, 3))) == ((255, 255, 255), (40, 50, 60))


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        (np.full((4, 4), 0x8040, np.uint16), "x.png", 0x80),
        (np.full((4, 4), 0x0140, np.uint16), "x.tif", 0x01),
        (np.full((4, 4), 0x8040, np.int32), "x.tif", 0x80),
        (np.full((4, 4), 200, np.int32), "x.tif", 200),
        (np.full((4, 4), 0.5, np.float32), "x.tif", 128),
        (np.full((4, 4), 77.0, np.float32), "x.tif", 77),
    ],
)
def test_deep_grey_is_scaled_and_not_clipped(tmp_path, values, name, expected):
    assert corner(read_image(save(tmp_path, Image.fromarray(values), name))) == (expected,) * 3


def test_big_endian_16_bit_is_scaled_too(tmp_path):
    image = Image.frombytes("I;16B", (2, 2), b"\x00\x90" * 4)
    assert corner(to_rgb(image)) == (0, 0, 0)
    assert corner(to_rgb(Image.frombytes("I;16B", (2, 2), b"\x90\x00" * 4))) == (0x90,) * 3


def test_a_crop_is_cut_out_and_must_lie_in_the_image(tmp_path):
    image = Image.new("RGB", (10, 10), "red")
    image.paste("blue", (5, 0, 10, 10))
    path = save(tmp_path, image).path
    right = read_image(ImageFile(path, (5, 0, 10, 10)))
    assert (right.size, corner(right)) == ((5, 10), (0, 0, 255))
    with pytest.raises(DataError, match=r"\(5, 0, 11, 10\).*x\.png.*10 × 10"):
        read_image(ImageFile(path, (5, 0, 11, 10)))


def broken_files(tmp_path):
    noise = Image.effect_noise((64, 64), 90)
    noise.save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")


@pytest.mark.parametrize(
    ("name", "reason", "by_header"),
    [
        ("cut.jpg", "is damaged", False),
        ("empty.jpg", "is empty", True),
        ("text.jpg", "is not an image", True),
        ("folder.jpg", "is a folder", True),
        ("missing.jpg", "does not exist", True),
        ("dangling.jpg", "link to a file that does not exist", True),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, name, reason, by_header):
    broken_files(tmp_path)
    file = ImageFile(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}.*{reason}") as error:
        read_image(file)
    assert error.value.exit_code == 4
    if by_header:
        with pytest.raises(DataError, match=f"{name}.*{reason}"):
            check_header(file)
    else:
        check_header(file)


def test_huge_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    file = save(tmp_path, Image.new("RGB", (20, 10)))
    monkeypatch.setattr(image_module, "MAX_PIXELS", 199)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    for read in (read_image, check_header):
        with pytest.raises(DataError, match="20 × 10 pixels"):
            read(file)


def test_pillows_own_bomb_limit_reads_the_same(tmp_path, monkeypatch):
    file = save(tmp_path, Image.new("RGB", (20, 10)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(DataError, match=r"x\.png.*more than"):
        read_image(file)


def test_a_size_that_must_be_is_that_of_the_image_the_right_way_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = save(tmp_path, Image.new("RGB", (10, 20)), exif=exif)
    assert (image_size(turned.path), image_size(turned.path, upright=False)) == ((20, 10), (10, 20))
    right, wrong = ImageFile(turned.path, (10, 0, 20, 10), (20, 10)), ImageFile(turned.path, None, (10, 20))
    check_header(right)
    assert read_image(right).size == (10, 10)
    for look in (check_header, read_image):
        with pytest.raises(DataError, match=r"x\.png. has 20 × 10 pixels instead of 10 × 20"):
            look(wrong)
    with pytest.raises(DataError, match=r"nowhere\.png. does not exist"):
        image_size(tmp_path / "nowhere.png")


def test_a_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    for read in (lambda path: read_image(ImageFile(path)), read_header, image_size):
        with pytest.raises(DataError, match=r"x\.png. is no file but a pipe"):
            read(tmp_path / "x.png")


def test_a_header_tells_size_mode_orientation_and_frames(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: turned, of the same size
    header = read_header(save(tmp_path, Image.new("L", (10, 20)), "a.jpg", exif=exif).path)
    assert (header.size, header.mode, header.turned, header.animated) == ((10, 20), "L", True, False)
    exif[0x0112] = 8
    assert read_header(save(tmp_path, Image.new("RGB", (10, 20)), "b.jpg", exif=exif).path).size == (20, 10)
    frames = [Image.linear_gradient("L").rotate(angle) for angle in (0, 90)]
    moving = save(tmp_path, frames[0], "c.gif", save_all=True, append_images=frames[1:])
    assert read_header(moving.path).animated
