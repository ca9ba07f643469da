from __future__ import annotations

from pathlib import Path

import pytest

from reidtune.data import Dataset, ImageFile, Record
from reidtune.data.caption_lengths import caption_lengths
from reidtune.data.label_findings import label_findings, scored_queries
from tests.data.conftest import captioned, record

GOOD = [record(identity, camera, f"{identity}-{camera}") for identity in range(1, 9) for camera in (1, 2)]
TEST = [record(identity, camera, f"{identity}-{camera}") for identity in (21, 22) for camera in (1, 2)]


def dataset(train=(), query=(), gallery=(), protocol="cross-camera", task="image", **facts):
    return Dataset(Path(), "folder", task, protocol, train, query, gallery, "", **facts)


def find(data, captions=None):
    """Findings by kind; each kind occurs once."""
    found = list(label_findings(data, captions))
    assert len({finding.kind for finding in found}) == len(found)
    return {finding.kind: finding for finding in found}


def test_good_labels_give_nothing():
    assert find(dataset(GOOD, TEST, list(TEST))) == {}
    assert find(dataset(GOOD, TEST, TEST, "leave-one-out")) == {}


def test_a_split_that_is_not_there_is_a_fact_and_one_that_is_no_use_an_error():
    assert {kind: finding.level for kind, finding in find(dataset(query=TEST, gallery=list(TEST))).items()} == {
        "no-training-split": "fact"
    }
    assert find(dataset(GOOD))["no-test-split"].level == "fact"
    assert find(dataset(GOOD[:2], TEST, list(TEST)))["one-training-identity"].level == "error"


def test_validation_that_cannot_be_carved_is_a_warning_with_the_way_out():
    train = [record(1, 1), record(1, 2), record(2, 1), record(2, 2), record(3, 1), record(3, 2)]
    found = find(dataset(train, TEST, list(TEST)))
    assert list(found) == ["no-validation"]
    assert "validation_fraction=0" in found["no-validation"].hint
    assert find(dataset(train, TEST, list(TEST), validation=[record(9, 1), record(9, 2)])) == {}


@pytest.mark.parametrize(("share", "level"), [(2, "fact"), (12, "warning")])
def test_single_images_and_single_cameras_weigh_by_their_share(share, level):
    alone = [record(100 + number, 1) for number in range(share)]
    found = find(dataset([*GOOD, *alone], TEST, list(TEST)))
    assert {kind: (finding.level, finding.count) for kind, finding in found.items()} == {
        "single-images": (level, share)
    }
    found = find(dataset([*GOOD, *alone, *alone], TEST, list(TEST), identity_names={100: "Ayo"}))
    assert (found["one-camera"].level, found["one-camera"].count) == (level, share)
    assert found["one-camera"].examples[:2] == ["identity Ayo", "identity 101"]


@pytest.mark.parametrize(
    ("query", "gallery", "protocol", "words", "hint"),
    [
        ([record(1, 1)], [record(2, 1)], "cross-camera", "no gallery image shows", "one test split"),
        ([record(1, 1)], [record(1, 1)], "cross-camera", "from their own camera", "--protocol all"),
        ([record(1, 1)], None, "cross-camera", "from their own camera", "--protocol leave-one-out"),
        ([record(1)], None, "leave-one-out", "has one image", "second image"),
    ],
)
def test_no_query_that_can_be_scored_is_an_error(query, gallery, protocol, words, hint):
    found = find(dataset(GOOD[4:], query, query if gallery is None else gallery, protocol))["nothing-scored"]
    assert (found.level, found.count) == ("error", 1)
    assert words in found.sentence
    assert hint in found.hint


def test_some_queries_that_cannot_be_scored_are_warnings():
    query = [*TEST, record(30, 1, "absent.png"), record(31, 1, "own.png")]
    found = find(dataset(GOOD, query, [*TEST, record(31, 1)]))
    assert (found["absent-queries"].count, found["absent-queries"].examples) == (1, ["absent.png"])
    assert (found["ignored-queries"].count, found["ignored-queries"].examples) == (1, ["own.png"])
    assert "1 identity loses every positive" in found["ignored-queries"].sentence
    assert {finding.level for finding in found.values()} == {"warning"}


def test_identities_on_two_sides_are_named():
    found = find(dataset(GOOD, [*TEST, GOOD[0]], [*TEST, GOOD[1]], validation=[GOOD[2], TEST[0]]))
    assert {kind: finding.examples for kind, finding in found.items()} == {
        "train-test-identities": ["identity 1"],
        "train-val-identities": ["identity 2"],
        "val-test-identities": ["identity 21"],
    }


def test_captions():
    people = [captioned(identity, f"person {identity}", f"{identity} again") for identity in range(1, 9)]
    test = [captioned(20, "red " * 80, "same", "one more"), captioned(21, "Same"), captioned(22)]
    data = dataset(people, test, test, "cross-modality", "text", validation=[captioned(30, "a", "b")])
    found = find(data, caption_lengths([*people, *test]))
    assert {kind: finding.count for kind, finding in found.items()} == {
        "bare-images": 1,
        "long-captions": 1,
        "shared-captions": 1,
    }
    assert "77 tokens" in found["long-captions"].sentence
    assert "62 words" in find(data, caption_lengths(test, tokens=False))["long-captions"].sentence
    assert scored_queries(data).queries == 4  # every caption
    bare = dataset([captioned(1), captioned(2)], test, test, "cross-modality", "text", validation=people)
    assert find(bare)["no-training-captions"].level == "error"


def test_missing_modalities_are_counted_once_a_sample():
    file = ImageFile(Path("x.png"))
    whole = [
        Record((file, file), identity, camera, modalities=("rgb", "nir"))
        for identity in range(1, 9)
        for camera in (1, 2)
    ]
    half = Record((file,), 20, 1, modalities=("nir",))
    test = [half, Record((file, file), 20, 2, modalities=("rgb", "nir"))]
    found = find(dataset(whole, test, test, task="multimodal", modalities=("rgb", "nir")))
    assert {kind: finding.level for kind, finding in found.items()} == {"missing-modalities": "fact"}
    assert "1 sample lacks a modality, of 18 (rgb 1)" in found["missing-modalities"].sentence
