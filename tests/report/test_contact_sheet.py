from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from reidtune.data import Dataset, ImageFile, Record
from reidtune.errors import DataError
from reidtune.report.contact_sheet import contact_sheet
from reidtune.report.pictures import EMPTY


@pytest.fixture
def sample(tmp_path):
    """A record whose image is all of one colour, made of identity and camera."""

    def make(identity, camera=None, **facts):
        path = tmp_path / f"{identity}-{camera}.png"
        Image.new("RGB", (32, 64), (10 * identity, 10 * (camera or 0), 255)).save(path)
        return Record((ImageFile(path),), identity, camera, **facts)

    return make


def dataset(train=(), query=(), gallery=None, task="image", **facts):
    gallery = query if gallery is None else gallery
    return Dataset(Path(), "folder", task, "all", list(train), query, gallery, "", **facts)


def colours(sheet):
    """Pixels of each colour of a sample."""
    return {
        colour[:2]: count for count, colour in sheet.getcolors(1 << 20) if colour[2] == 255 and colour[:2] != (255, 255)
    }


def test_cameras_come_in_turn_and_every_image_is_whole(sample):
    photos = [sample(1, camera) for camera in (1, 1, 1, 1, 2, 3)]
    sheet = contact_sheet(dataset(photos), columns=4)
    shown = colours(sheet)
    assert shown == {(10, 10): 2 * 64 * 128, (10, 20): 64 * 128, (10, 30): 64 * 128}
    order = [colour[1] // 10 for _, colour in sorted((sheet.tobytes().index(bytes((*c, 255))), c) for c in shown)]
    assert order == [1, 2, 3]


def test_splits_share_the_rows_and_identities_are_spread(sample):
    train = [sample(identity, camera) for identity in range(1, 10) for camera in (1, 2)]
    test = [sample(identity, camera) for identity in range(11, 20) for camera in (1, 2)]
    shown = {colour[0] // 10 for colour in colours(contact_sheet(dataset(train, test), rows=6))}
    assert shown == {1, 5, 9, 11, 15, 19}
    few = {colour[0] // 10 for colour in colours(contact_sheet(dataset(train, test[:2]), rows=6))}
    assert len(few) == 6
    assert 11 in few


def test_identities_of_one_image_come_last_and_junk_never(sample):
    records = [sample(1, 1), sample(2, 1), sample(3, 1), sample(3, 2), replace(sample(5, 1), identity=-1)]
    assert {colour[0] // 10 for colour in colours(contact_sheet(dataset(records), rows=1))} == {3}
    assert {colour[0] // 10 for colour in colours(contact_sheet(dataset(records), rows=9))} == {1, 2, 3}
    with pytest.raises(DataError, match="no identity"):
        contact_sheet(dataset(records[-1:]))


def test_a_caption_stands_at_the_end_of_its_row(sample):
    with_words = contact_sheet(dataset([sample(1, 1, captions=("a woman in red",))], task="text"))
    plain = contact_sheet(dataset([sample(1, 1)], task="text"))
    assert with_words.size == plain.size
    left = 6 + 64 + 6
    words = with_words.crop((left, 26, with_words.width, 26 + 128)).getcolors(1 << 20)
    assert len(words) > 5
    assert len(plain.crop((left, 26, plain.width, 26 + 128)).getcolors(1 << 20)) == 1


def test_modalities_stand_below_each_other(sample):
    one, two = sample(1, 1), sample(2, 2)
    both = Record((*one.images, *two.images), 1, 1, modalities=("rgb", "nir"))
    lacking = Record(one.images, 1, 2, modalities=("rgb",))
    sheet = contact_sheet(dataset([both, lacking], task="multimodal", modalities=("rgb", "nir")))
    assert colours(sheet) == {(10, 10): 2 * 48 * 96, (20, 20): 48 * 96}
    counts = {colour: count for count, colour in sheet.getcolors(1 << 20)}
    assert counts[EMPTY] > 48 * 96 * 0.7


def test_an_image_that_cannot_be_read_is_a_field_that_says_so(sample):
    records = [sample(1, 1), sample(1, 2)]
    records[0].path.write_bytes(b"")
    sheet = contact_sheet(dataset(records))
    counts = {colour: count for count, colour in sheet.getcolors(1 << 20)}
    assert 64 * 128 * 0.7 < counts[EMPTY] < 64 * 128
    assert colours(sheet) == {(10, 20): 64 * 128}
    records[1].path.unlink()
    assert contact_sheet(dataset(records)).height > 128


def test_a_long_name_is_cut_and_query_and_gallery_are_told_apart(sample):
    records = [sample(1, 1), sample(1, 2)]
    sheet = contact_sheet(dataset(query=records[:1], gallery=records[1:], identity_names={1: "long " * 400}))
    assert sheet.width < 900
    plain = contact_sheet(dataset(query=records))
    below = (6, 26 + 128, 300, plain.height)
    assert sheet.crop(below).tobytes() != plain.crop(below).tobytes()


def test_narrow_images_stand_apart_so_that_gallery_can_be_read(sample):
    records = [sample(1, 1), sample(1, 2)]
    for record in records:
        Image.new("RGB", (20, 64), (10, 10, 255)).save(record.path)
    apart = contact_sheet(dataset(query=records[:1] * 4, gallery=records[1:] * 4))
    close = contact_sheet(dataset(records * 4))
    assert colours(apart) == colours(close) == {(10, 10): 8 * 45 * 128}
    assert apart.width - close.width > 8 * 5
