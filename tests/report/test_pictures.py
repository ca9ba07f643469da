from itertools import pairwise

import pytest
from PIL import Image, ImageChops, ImageFont

from reidtune.data.record import ImageFile, Record
from reidtune.errors import ReidtuneError
from reidtune.report.pictures import QUERY, RIGHT, WRONG, RankedRow, ranked_sheet, save_picture, wrap


@pytest.fixture
def record(tmp_path):
    def make(identity, name, size=(32, 64)):
        path = tmp_path / f"{name}.png"
        Image.new("RGB", size, (250, 250, 0)).save(path)
        return Record((ImageFile(path),), identity)

    return make


def test_frames_say_query_right_and_wrong_and_every_row_is_drawn(record):
    rows = [RankedRow(record(1, "q"), [record(1, "a"), record(2, "b")], "AP 50.0")] * 2
    sheet = ranked_sheet(rows, height=64)
    colours = {colour: count for count, colour in sheet.getcolors(1_000_000)}
    frame = 2 * ((32 + 8) * 4 + 64 * 4)  # of one 32×64 image, 4 pixels wide
    assert colours[QUERY] == colours[RIGHT] == colours[WRONG] == 2 * frame
    assert colours[(250, 250, 0)] == 6 * 32 * 64


def test_images_of_other_shapes_are_fitted(record):
    sheet = ranked_sheet([RankedRow(record(1, "q", (64, 32)), [record(1, "a", (10, 90))], "")], height=40)
    assert sheet.width > 2 * 80


def test_a_picture_is_written_or_the_reason_said(record, tmp_path):
    sheet = ranked_sheet([RankedRow(record(1, "q"), [record(1, "a")], "")])
    save_picture(sheet, tmp_path / "new" / "sheet.png")
    assert Image.open(tmp_path / "new" / "sheet.png").size == sheet.size
    with pytest.raises(ReidtuneError, match=r"sheet\.xyz could not be written"):
        save_picture(sheet, tmp_path / "sheet.xyz")


def test_a_caption_stands_in_place_of_the_query(record):
    results = [record(1, "a"), record(2, "b")]
    sheet = ranked_sheet([RankedRow(record(1, "q", (200, 10)), results, "AP 50.0", "a man in red")], height=64)
    colours = {colour: count for count, colour in sheet.getcolors(1_000_000)}
    assert colours[(250, 250, 0)] == 2 * 32 * 64  # both results, in their own shape, and not the query's image
    assert colours[RIGHT] == colours[WRONG] == 2 * ((32 + 8) * 4 + 64 * 4)
    assert colours[QUERY] > 1.5 * colours[RIGHT]  # the field is wider than an image
    blank = ranked_sheet([RankedRow(record(1, "q"), results, "AP 50.0", "")], height=64)
    assert sheet.size == blank.size
    left, _, right, _ = ImageChops.difference(sheet, blank).getbbox()
    field = 64 * 1.8
    assert left > 6 + 4 and right < 6 + 4 + field  # the words are inside the frame


@pytest.mark.parametrize("width", [40, 100, 230])
def test_captions_are_wrapped_between_words_and_none_is_lost(width):
    font = ImageFont.load_default(13)
    text = "The pedestrian  wears a brown t-shirt,\nan ankle length skirt and black boots."
    lines = wrap(text, font, width, 99)
    assert all(font.getlength(line) <= width for line in lines)
    assert not any(line != line.strip() for line in lines)
    if width > 80:
        assert " ".join(lines).split() == text.split()
    assert "".join("".join(lines).split()) == "".join(text.split())  # a word that is too long is broken


def test_long_captions_end_in_an_ellipsis():
    font = ImageFont.load_default(13)
    lines = wrap("a man in a red coat, " * 40, font, 120, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…") and not any("…" in line for line in lines[:-1])
    assert all(font.getlength(line) <= 120 for line in lines)
    whole = wrap("a man in a red coat, " * 3, font, 120, 5)
    assert not any("…" in line for line in whole)
    assert wrap("", font, 120, 3) == []
    assert all(font.getlength(line) <= 60 for line in wrap("x" * 300, font, 60, 2))


SPECTRUM = {"rgb": (250, 250, 0), "nir": (0, 250, 250), "tir": (250, 0, 250)}


@pytest.fixture
def sample(tmp_path):
    """A record of a strip of three images of 32×64, of one colour each, that has some of the modalities."""
    path = tmp_path / "strip.png"
    strip = Image.new("RGB", (96, 64))
    for place, colour in enumerate(SPECTRUM.values()):
        strip.paste(colour, (32 * place, 0, 32 * place + 32, 64))
    strip.save(path)
    crops = {name: ImageFile(path, (32 * place, 0, 32 * place + 32, 64)) for place, name in enumerate(SPECTRUM)}

    def make(identity, *names):
        return Record(tuple(crops[name] for name in names), identity, modalities=names)

    return make


def test_modalities_of_a_sample_stand_below_each_other_in_one_frame(sample):
    names = tuple(SPECTRUM)
    rows = [RankedRow(sample(1, *names), [sample(1, *names), sample(2, *names)], "AP 50.0")]
    sheet = ranked_sheet(rows, height=64, modalities=names)
    colours = {colour: count for count, colour in sheet.getcolors(1_000_000)}
    frame = 2 * ((32 + 8) * 4 + (3 * 64 + 4) * 4)  # of three 32×64 images with two seams of 2 pixels
    assert colours[QUERY] == colours[RIGHT] == colours[WRONG] == frame
    assert [colours[colour] for colour in SPECTRUM.values()] == [3 * 32 * 64] * 3  # each is its own crop
    column = [sheet.getpixel((sheet.width - 30, top)) for top in range(sheet.height)]
    order = [colour for colour, before in zip(column[1:], column, strict=False) if colour != before]
    assert [colour for colour in order if colour in SPECTRUM.values()] == list(SPECTRUM.values())
    plain = ranked_sheet([RankedRow(sample(1, "nir"), [sample(2, "nir")], "")], height=64)
    assert sheet.height - plain.height == 2 * 64 + 4


def test_names_of_modalities_stand_on_the_left_of_every_row(sample):
    names = ("rgb", "nir")
    rows = [RankedRow(sample(1, *names), [sample(1, *names)], "AP 50.0")] * 2
    sheet = ranked_sheet(rows, height=64, modalities=names)
    left = sheet.crop((0, 0, 25, sheet.height))
    lines = [top for top in range(left.height) if len(left.crop((0, top, 25, top + 1)).getcolors()) > 1]
    blocks = 1 + sum(after - before > 4 for before, after in pairwise(lines))
    assert blocks == 4
    longer = ranked_sheet(rows, height=64, modalities=("rgb", "a long name"))
    assert longer.width > sheet.width


def test_a_missing_modality_is_an_empty_field(sample):
    names = ("rgb", "nir")
    sheet = ranked_sheet([RankedRow(sample(1, "rgb"), [sample(1, *names), sample(1, "nir")], "")], 64, names)
    colours = {colour: count for count, colour in sheet.getcolors(1_000_000)}
    assert colours[SPECTRUM["rgb"]] == colours[SPECTRUM["nir"]] == 2 * 32 * 64
    empty = colours[(238, 238, 238)]
    assert 2 * 32 * 64 * 0.7 < empty < 2 * 32 * 64 - 20  # all but some letters
    assert colours[RIGHT] == 2 * colours[QUERY]


def test_one_modality_is_drawn_as_images(sample):
    row = RankedRow(sample(1, "tir"), [sample(2, "tir")], "")
    assert ranked_sheet([row], 64, ("tir",)).tobytes() == ranked_sheet([row], 64).tobytes()
