from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reidtune.data import Dataset, ImageFile, Record
from reidtune.data.census import census, every, overlap, sizes, splits_of, spread
from reidtune.data.look import Look
from tests.data.conftest import captioned, record


def dataset(train=(), query=(), gallery=(), **facts):
    return Dataset(Path(), "folder", "image", "all", train, query, gallery, "", **facts)


def test_one_list_of_test_images_is_one_split():
    one, two = [record(1)], [record(2)]
    assert list(splits_of(dataset(one, two, two))) == ["train", "test"]
    assert list(splits_of(dataset(one, two, list(two), validation=one))) == ["train", "val", "query", "gallery"]
    assert list(splits_of(dataset([], two, two))) == ["test"]


def test_records_of_shared_lists_are_taken_once():
    one, two = record(1), record(1)  # equal, and still two samples
    assert len(every(dataset([one, two], [one], [one]))) == 2


def test_counts_leave_junk_and_distractors_out_of_identities():
    records = [
        record(1, 1, "a"),
        record(1, 2, "b"),
        record(1, 2, "c"),
        record(2, 1, "d"),
        record(0, 1, "e"),
        record(-1, 3, "f"),
    ]
    looks = {one.path: Look(one.path, one.images, sizes=[(10, 20)]) for one in records[:4]}
    looks |= {one.path: Look(one.path, one.images, problem="broken") for one in records[4:]}
    counts = census(records, looks)
    assert (counts["identities"], counts["samples"], counts["junk"], counts["distractors"]) == (2, 6, 1, 1)
    assert counts["samples_per_identity"] == {"min": 1, "median": 2, "max": 3, "single": 1}
    assert (counts["cameras"], counts["one_camera"], counts["scenes"], counts["captions"]) == (3, 1, None, None)
    assert counts["sizes"]["most_frequent"] == [{"width": 10, "height": 20, "images": 4}]


def test_captions_scenes_and_modalities_are_counted():
    file = ImageFile(Path("x.png"))
    looks = {file.path: Look(file.path, (file,), sizes=[(5, 5)])}
    samples = [Record((file, file), 1, scene=4, modalities=("rgb", "nir")), Record((file,), 2, modalities=("nir",))]
    counts = census(samples, looks, ("rgb", "nir", "tir"))
    assert counts["modalities"] == {"rgb": 1, "nir": 2, "tir": 0}
    assert (counts["samples"], counts["images"], counts["scenes"]) == (2, 3, 1)
    assert census([captioned(1, "a", "b")], looks)["captions"] == 2
    assert census([replace(samples[0], images=())], {})["sizes"] is None


def test_sizes_say_what_squashing_does():
    found = sizes([(128, 256), (128, 256), (64, 128)])
    assert found["squashed"]["widened"] == 1
    assert found["squashed"]["enlarged"] == 1
    assert (found["different"], found["width"]["min"], found["aspect"]["median"]) == (2, 64, 2)
    square = sizes([(64, 64)])["squashed"]
    assert square["widened"] == 0.5
    assert square["enlarged"] == pytest.approx((128 * 256 / 64**2) ** 0.5)
    assert sizes([]) is None


def test_spread_and_overlap():
    assert spread([3, 1, 2, 10]) == {"min": 1, "median": 2.5, "max": 10}
    assert spread([])["median"] is None
    assert overlap([record(1), record(0), record(-1), record(3)], [record(3), record(0), record(-1), record(1)]) == [
        1,
        3,
    ]
