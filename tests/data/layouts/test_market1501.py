from __future__ import annotations

import pytest

from reidtune.data import open_dataset
from reidtune.errors import DataError, SettingsError

from ..conftest import names

MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c2s1_000501_01.jpg",
    "bounding_box_train/0007_c3s1_000551_01.jpg",
    "query/0001_c1s1_001051_00.jpg",
    "query/0003_c6s1_001051_00.jpg",
    "bounding_box_test/0001_c2s1_001051_00.jpg",
    "bounding_box_test/0003_c1s1_001051_00.jpg",
    "bounding_box_test/0000_c4s1_001051_00.jpg",
    "bounding_box_test/-1_c5s1_001051_00.jpg",
    "bounding_box_test/-1_c5s1_001052_00.jpg",
)


def test_market_names_give_identity_and_camera(put):
    dataset = open_dataset(put(*MARKET))
    assert (dataset.layout, dataset.task, dataset.protocol) == ("market1501", "image", "cross-camera")
    assert [(r.identity, r.camera) for r in dataset.train] == [(2, 1), (2, 2), (7, 3)]
    assert [(r.identity, r.camera) for r in dataset.query] == [(1, 1), (3, 6)]
    assert [(r.identity, r.camera) for r in dataset.gallery] == [(-1, 5), (-1, 5), (0, 4), (1, 2), (3, 1)]


def test_the_sentence_counts_what_is_ranked(put):
    assert open_dataset(put(*MARKET)).sentence == (
        "Market-1501 names: 2 train identities (3 images), 2 queries, 3 gallery images, 6 cameras; "
        "same-identity same-camera pairs are ignored (cross-camera). "
        "Distractors (identity 0) in the gallery: 1. "
        "Junk (identity −1) in the gallery, never ranked and not counted above: 2."
    )


def test_junk_and_distractors_never_train_nor_ask(put):
    dataset = open_dataset(put(*MARKET, "bounding_box_train/0000_c1s1_1_1.jpg", "query/-1_c1s1_1_1.jpg"))
    assert {r.identity for r in dataset.train} == {2, 7}
    assert {r.identity for r in dataset.query} == {1, 3}
    assert "1 image of identity −1 or 0 left out of training." in dataset.sentence
    assert "1 image of identity −1 or 0 left out of the queries." in dataset.sentence


@pytest.mark.parametrize(
    ("files", "title", "seen"),
    [
        (
            ("bounding_box_train/0005_c2_f0046985.jpg", "query/0001_c8_f1.jpg", "bounding_box_test/0001_c7_f1.jpg"),
            "DukeMTMC names",
            [(5, 2), (1, 8), (1, 7)],
        ),
        (
            ("bounding_box_train/0003_c1_2.png", "query/0004_c2_1.png", "bounding_box_test/0004_c1_1.png"),
            "CUHK03-NP names",
            [(3, 1), (4, 2), (4, 1)],
        ),
        (
            ("image_train/0002_c002_0030_0.jpg", "image_query/0001_c020_1_0.jpg", "image_test/0001_c011_1_0.jpg"),
            "VeRi-776 names",
            [(2, 2), (1, 20), (1, 11)],
        ),
        (
            ("train/0002_c1s1_1.jpg", "query/0001_c2s1_1.jpg", "gallery/0001_c3s1_1.jpg"),
            "Market-1501 names",
            [(2, 1), (1, 2), (1, 3)],
        ),
    ],
)
def test_the_relatives_are_recognised(put, files, title, seen):
    dataset = open_dataset(put(*files))
    assert dataset.sentence.startswith(title + ":")
    assert [(r.identity, r.camera) for r in (*dataset.train, *dataset.query, *dataset.gallery)] == seen


def test_the_root_may_be_one_folder_up(put):
    root = put(*[f"Market-1501-v15.09.15/{name}" for name in MARKET], "notes/readme.png")
    dataset = open_dataset(root)
    assert dataset.root == root / "Market-1501-v15.09.15"
    assert len(dataset.train) == 3
    assert dataset.sentence.endswith('Found in "Market-1501-v15.09.15".')
    assert dataset.manifest() == open_dataset(dataset.root).manifest()
    assert open_dataset(root, layout="market1501").root == dataset.root


def test_two_datasets_in_one_folder_are_not_guessed_between(put):
    root = put(*[f"{kind}/{name}" for kind in ("detected", "labeled") for name in MARKET])
    for layout in (None, "cuhk03-np"):
        with pytest.raises(DataError, match="2 datasets: detected, labeled"):
            open_dataset(root, layout)
    assert len(open_dataset(root / "labeled", "cuhk03-np").train) == 3


def test_a_flat_folder_is_query_and_gallery(put):
    dataset = open_dataset(put("0001_c001_1_0.jpg", "0001_c002_1_0.jpg", "0002_c001_1_0.jpg"))
    assert dataset.train == []
    assert dataset.query is dataset.gallery
    assert len(dataset.query) == 3
    assert dataset.protocol == "cross-camera"
    assert "no training split, 3 test images of 2 identities, 2 cameras" in dataset.sentence


def test_a_flat_folder_with_junk_keeps_it_in_the_gallery_alone(put):
    dataset = open_dataset(put("0001_c1s1_1.jpg", "0002_c2s1_1.jpg", "-1_c1s1_1.jpg"))
    assert names(dataset.query) == ["0001_c1s1_1.jpg", "0002_c2s1_1.jpg"]
    assert len(dataset.gallery) == 3


def test_train_and_test_without_query_use_test_for_both(put):
    dataset = open_dataset(put("train/0001_c1s1_1.jpg", "test/0002_c1s1_1.jpg", "test/0003_c2s1_1.jpg", "test/x.jpg"))
    assert dataset.query is dataset.gallery
    assert names(dataset.gallery) == ["0002_c1s1_1.jpg", "0003_c2s1_1.jpg"]
    assert "no identity and camera: 1 (x.jpg)" in dataset.sentence


def test_one_camera_means_that_nothing_is_ignored(put):
    files = ("query/0001_c1s1_1.jpg", "bounding_box_test/0001_c1s1_2.jpg", "bounding_box_test/0002_c1s1_2.jpg")
    dataset = open_dataset(put(*files))
    assert dataset.protocol == "all"
    assert "1 camera; every gallery image counts (all)" in dataset.sentence


def test_other_files_are_counted_and_named(put):
    root = put(*MARKET, "bounding_box_train/cover.jpg", "query/.hidden.jpg")
    (root / "bounding_box_test" / "Thumbs.db").touch()
    sentence = open_dataset(root).sentence
    assert "Left out, since the name tells no identity and camera: 1 (cover.jpg)." in sentence
    assert "2 files are skipped" in sentence
    assert "Thumbs.db" in sentence


def test_names_that_never_match_are_an_error(put):
    root = put("bounding_box_train/a.jpg", "query/b.jpg", "bounding_box_test/c.jpg")
    with pytest.raises(DataError, match=r"3 images such as \"a\.jpg\""):
        open_dataset(root)


def test_a_missing_folder_is_named(put):
    with pytest.raises(DataError, match='has "bounding_box_test" but no "query"'):
        open_dataset(put(*[name for name in MARKET if not name.startswith("query")]))


def test_training_alone_can_be_opened(put):
    dataset = open_dataset(put(*MARKET[:3]))
    assert (len(dataset.train), dataset.query, dataset.gallery) == (3, [], [])
    assert "no test split, 3 cameras." in dataset.sentence


def test_an_empty_query_folder_is_an_error(put):
    root = put(*[name for name in MARKET if not name.startswith("query")])
    (root / "query").mkdir()
    with pytest.raises(DataError, match="gallery images but no queries"):
        open_dataset(root)


def test_a_protocol_can_be_chosen_if_it_fits(put):
    root = put(*MARKET)
    dataset = open_dataset(root, protocol="all")
    assert dataset.protocol == "all"
    assert "every gallery image counts (all)" in dataset.sentence
    with pytest.raises(SettingsError, match="scene of every test image; 7 of 7"):
        open_dataset(root, protocol="cross-scene")
    with pytest.raises(SettingsError, match="leave-one-out"):
        open_dataset(root, protocol="leave-one-out")
    with pytest.raises(SettingsError, match='Did you mean "cross-camera"'):
        open_dataset(root, protocol="crosscamera")


EXTRA = ("images/0000_c3s1_000007_00.jpg", "images/0042_c1s1_000008_00.jpg", "images/-1_c1s1_000009_00.jpg")


def test_the_folder_of_distractors_is_another_test_and_only_told(put):
    dataset = open_dataset(put(*MARKET, *EXTRA))
    assert (dataset.layout, len(dataset.gallery)) == ("market1501", 5)
    assert dataset.sentence.endswith(
        '"images" is not read; --layout market1501-500k adds it to the gallery as distractors.'
    )


@pytest.mark.parametrize("folder", ["images", "distractors_500k", "distractors"])
def test_distractors_join_the_gallery_where_they_are_asked_for(put, folder):
    """All of them as nobody, whatever their names say: identity 42 is somebody else."""
    root = put(*MARKET, "images/x.jpg", *EXTRA)
    (root / "images").rename(root / folder)
    dataset = open_dataset(root, layout="market1501-500k")
    assert (dataset.layout, dataset.protocol) == ("market1501-500k", "cross-camera")
    assert [(r.identity, r.camera) for r in dataset.gallery[5:]] == [(-1, 1), (0, 3), (0, 1)]
    assert dataset.query == open_dataset(root).query
    assert len(dataset.train) == 3
    for told in (
        "2 queries, 5 gallery images",
        "Distractors (identity 0) in the gallery: 3.",
        f'"{folder}" is added to the gallery: 3 images.',
        "no identity and camera: 1 (x.jpg).",
    ):
        assert told in dataset.sentence


def test_distractors_that_are_not_there_are_missed(put):
    with pytest.raises(DataError, match='has no folder of distractors, "images"'):
        open_dataset(put(*MARKET), layout="market1501-500k")


def test_distractors_are_those_of_market_1501(put):
    files = [f"image_{split}/0001_c001_1.jpg" for split in ("train", "query", "test")]
    with pytest.raises(DataError, match="has no bounding_box_test"):
        open_dataset(put(*files, *EXTRA), layout="market1501-500k")


def test_a_folder_images_beside_other_names_is_nothing(put):
    files = ("image_train/0002_c002_1_0.jpg", "image_query/0001_c020_1_0.jpg", "image_test/0001_c011_1_0.jpg")
    assert "images" not in open_dataset(put(*files, "images/1.jpg")).sentence.split("(cross-camera).")[1]


@pytest.mark.parametrize("layout", [None, "dukemtmcreid", "dukemtmc-reid"])
def test_the_folder_of_duke_may_have_any_name(put, layout):
    files = ("bounding_box_train/0005_c2_f0046985.jpg", "query/0001_c8_f1.jpg", "bounding_box_test/0001_c7_f1.jpg")
    dataset = open_dataset(put(*[f"dukemtmcreid/{file}" for file in files]), layout)
    assert dataset.sentence.startswith("DukeMTMC names: 1 train identity (1 image), 1 query, 1 gallery image")


def test_two_folders_of_cuhk03_np_are_asked_for_with_an_example(put):
    files = ("bounding_box_train/0003_c1_2.png", "query/0004_c2_1.png", "bounding_box_test/0004_c1_1.png")
    root = put(*[f"{kind}/{file}" for kind in ("detected", "labeled") for file in files])
    with pytest.raises(DataError) as error:
        open_dataset(root)
    assert error.value.exit_code == 4
    assert error.value.hint.endswith('/detected".')
