from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from reidtune.data import open_dataset
from reidtune.data.survey import survey_dataset


@pytest.fixture
def folder(tmp_path):
    """Market-1501 names of noise: 5 training people and 3 test people, each seen by two cameras."""
    for split, people, cameras in (
        ("bounding_box_train", range(1, 6), (1, 2)),
        ("query", range(11, 14), (1,)),
        ("bounding_box_test", range(11, 14), (1, 2)),
    ):
        for person in people:
            for camera in cameras:
                noise(tmp_path / split / f"{person:04d}_c{camera}s1_000001_00.png")
    return tmp_path


def noise(path):
    seed = int.from_bytes(str(path.relative_to(path.parents[1])).encode()[:60], "big")
    values = np.random.default_rng(seed).integers(0, 256, (12, 6, 3), dtype=np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values).resize((64, 128), Image.Resampling.BICUBIC).save(path)
    return path


def look(folder, **options):
    result = survey_dataset(open_dataset(folder), **options)
    json.dumps(result, allow_nan=False)
    return result, {finding["kind"]: finding["count"] for finding in result["findings"]}


def test_good_data_is_counted_and_nothing_is_found(folder):
    result, found = look(folder)
    assert found == {}
    assert result["verdict"] == {"trainable": True, "evaluable": True, "errors": 0, "warnings": 0}
    assert {name: split["samples"] for name, split in result["splits"].items()} == {
        "train": 10,
        "query": 3,
        "gallery": 6,
    }
    assert result["files"] == {"total": 19, "bytes": result["files"]["bytes"], "broken": 0, "decoded": 19}
    assert result["files"]["bytes"] == sum(path.stat().st_size for path in folder.rglob("*.png"))
    assert result["queries"] == {"total": 3, "absent": 0, "ignored": 0, "identities_lost": 0}
    assert result["near_duplicates"]["pairs"] == 0


def test_a_broken_file_spoils_only_its_own_side(folder):
    (folder / "query" / "0011_c1s1_000001_00.png").write_bytes(b"")
    result, found = look(folder)
    assert found == {"broken-files": 1}
    assert (result["verdict"]["trainable"], result["verdict"]["evaluable"]) == (True, False)
    assert (result["files"]["broken"], result["files"]["decoded"]) == (1, 18)


def test_damage_behind_the_header_is_seen_only_by_decoding(folder):
    path = folder / "bounding_box_train" / "0001_c1s1_000001_00.png"
    path.write_bytes(path.read_bytes()[:-200])
    assert look(folder)[1] == {"broken-files": 1}
    result, found = look(folder, quick=True)
    assert found == {}
    assert (result["quick"], result["files"]["decoded"], result["near_duplicates"]) == (True, 0, None)


def test_copies_and_near_duplicates_are_told_apart(folder):
    train, test = folder / "bounding_box_train", folder / "bounding_box_test"
    shutil.copy(train / "0001_c1s1_000001_00.png", train / "0001_c1s1_000002_00.png")
    shutil.copy(train / "0002_c1s1_000001_00.png", test / "0012_c2s1_000002_00.png")
    Image.open(train / "0003_c1s1_000001_00.png").resize((32, 64)).save(test / "0013_c2s1_000002_00.png")
    result, found = look(folder)
    assert found == {"copies-across-identities": 1, "near-duplicates": 1, "copies": 1}
    near = next(finding for finding in result["findings"] if finding["kind"] == "near-duplicates")
    assert near["examples"] == [
        "bounding_box_train/0003_c1s1_000001_00.png ~ bounding_box_test/0013_c2s1_000002_00.png"
    ]
    assert result["near_duplicates"]["pairs"] == result["near_duplicates"]["test_images"] == 1
    assert look(folder, quick=True)[1] == {"copies-across-identities": 1, "copies": 1}


def test_flat_images_are_no_near_duplicates(folder):
    for split, person in (("bounding_box_train", 1), ("bounding_box_test", 12)):
        colour = (100, 100, 100 + person % 10)
        Image.new("RGB", (64, 128), colour).save(folder / split / f"{person:04d}_c1s1_000009_00.png")
    assert look(folder)[1] == {"flat-images": 2}


def test_a_test_split_that_cannot_be_scored_is_an_error(folder):
    shutil.rmtree(folder / "bounding_box_test")
    for camera in (1, 2):
        noise(folder / "bounding_box_test" / f"0099_c{camera}s1_000001_00.png")
    result, found = look(folder)
    assert found == {"nothing-scored": 3}
    assert (result["verdict"]["evaluable"], result["verdict"]["errors"]) == (False, 1)


def test_nothing_is_written_or_touched(folder):
    def state():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [folder, *folder.rglob("*")]}

    before = state()
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        look(folder)
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert state() == before


def test_names_of_any_bytes_are_told(folder):
    raw = os.fsencode(folder / "bounding_box_train") + b"/0001_c1s1_\xff\n.png"
    with open(raw, "wb") as file:  # noqa: PTH123  (no Path of these bytes is printable)
        file.write(b"bad")
    result, _ = look(folder)
    (example,) = result["findings"][0]["examples"]
    assert example.startswith("bounding_box_train/0001_c1s1_\\udcff\\n.png is not an image")


def test_samples_of_several_modalities(spectral_world):
    dataset = open_dataset(spectral_world)
    result = survey_dataset(dataset)
    assert result["findings"] == []
    assert result["modalities"] == ["rgb", "nir", "tir"]
    assert result["splits"]["train"]["modalities"]["tir"] == len(dataset.train)
    less = replace(
        dataset, train=[replace(one, images=one.images[:2], modalities=one.modalities[:2]) for one in dataset.train]
    )
    assert [finding["kind"] for finding in survey_dataset(less)["findings"]] == ["missing-modalities"]
