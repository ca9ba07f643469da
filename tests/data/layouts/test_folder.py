from __future__ import annotations

import pytest

from reidtune.data import open_dataset
from reidtune.errors import DataError, SettingsError

from ..conftest import names


def test_train_and_val_are_training_and_test(put):
    dataset = open_dataset(
        put("train/Zoe/1.jpg", "train/Ayo/1.jpg", "train/Ayo/2.jpg", "val/Kit/1.jpg", "val/Kit/2.jpg")
    )
    assert dataset.identity_names == {1: "Ayo", 2: "Kit", 3: "Zoe"}
    assert [r.identity for r in dataset.train] == [1, 1, 3]
    assert [r.identity for r in dataset.query] == [2, 2]
    assert dataset.query is dataset.gallery
    assert (dataset.layout, dataset.protocol) == ("folder", "leave-one-out")
    assert dataset.sentence == (
        "Identity folders: 2 train identities (3 images), 2 test images of 1 identity, cameras unknown; "
        'each test image is a query against all others (leave-one-out). The split "val" is the test split; '
        "validation is carved from the training identities."
    )


def test_query_and_gallery_are_ranked_in_full(put):
    dataset = open_dataset(put("train/a/1.jpg", "query/b/1.jpg", "gallery/b/2.jpg", "gallery/c/1.jpg"))
    assert dataset.protocol == "all"
    assert (names(dataset.query), len(dataset.gallery)) == (["1.jpg"], 2)


def test_query_and_test_means_that_test_is_the_gallery(put):
    dataset = open_dataset(put("query/b/1.jpg", "test/b/2.jpg", "test/c/1.jpg"))
    assert len(dataset.gallery) == 2
    assert 'The split "test" is the gallery.' in dataset.sentence


def test_a_split_that_is_not_used_is_told(put):
    dataset = open_dataset(put("train/a/1.jpg", "val/b/1.jpg", "test/c/1.jpg", "Test_notes/x/y.jpg"))
    assert [dataset.identity_names[r.identity] for r in dataset.gallery] == ["c"]
    assert 'Not used: "val" (1 image)' in dataset.sentence
    assert "Folders that are no split are left out: Test_notes." in dataset.sentence


@pytest.mark.parametrize(("have", "missing"), [("query", "gallery"), ("gallery", "query")])
def test_half_a_test_split_is_an_error(put, have, missing):
    with pytest.raises(DataError, match=f"has a {have} split but no {missing} split"):
        open_dataset(put("train/a/1.jpg", f"{have}/b/1.jpg"))


def test_no_splits_means_half_and_half_by_identity(put):
    root = put(*[f"{name}/{i}.jpg" for name in "abcdefgh" for i in range(3)])
    dataset = open_dataset(root)
    train, test = ({r.identity for r in records} for records in (dataset.train, dataset.query))
    assert (len(train), len(test), train & test) == (4, 4, set())
    assert dataset.query is dataset.gallery
    assert "half of the identities train, half test" in dataset.sentence
    assert dataset.manifest() == open_dataset(root).manifest()


def test_too_few_identities_for_halves_are_all_test(put):
    dataset = open_dataset(put("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg"))
    assert (len(dataset.train), len(dataset.query)) == (0, 5)
    assert "too few identities to divide" in dataset.sentence


def test_folders_are_read_to_any_depth_and_strays_are_told(put):
    root = put("train/a/day/1.jpg", "train/a/night/2.jpg", "train/b/1.jpg", "train/stray.jpg", "test/c/1.jpg")
    (root / "train" / "empty").mkdir()
    (root / "train" / "b" / "notes.txt").touch()
    dataset = open_dataset(root)
    assert names(dataset.train) == ["1.jpg", "2.jpg", "1.jpg"]
    assert "Folders without images are left out: empty." in dataset.sentence
    assert 'Images outside identity folders are left out: 1 in "train".' in dataset.sentence
    assert "1 file is skipped (hidden or no image: notes.txt)." in dataset.sentence


def test_numbered_folders_keep_their_numbers(put):
    dataset = open_dataset(put("test/0007/1.jpg", "test/0012/1.jpg"))
    assert dataset.identity_names == {7: "0007", 12: "0012"}


def test_identity_folders_of_market_named_files_are_identity_folders(put):
    dataset = open_dataset(put(*[f"{i:04}/{i:04}_c{k}s1_1.jpg" for i in range(1, 7) for k in (1, 2)]))
    assert dataset.layout == "folder"
    assert len(dataset.train) == len(dataset.query) == 6


def test_an_individual_may_be_called_test(put):
    dataset = open_dataset(put("Test/1.jpg", "Ayo/1.jpg", "Ayo/2.jpg"))
    assert dataset.identity_names == {1: "Ayo", 2: "Test"}


def test_the_only_folder_of_a_folder_is_entered(put):
    root = put("lion/train/a/1.jpg", "lion/train/b/1.jpg")
    dataset = open_dataset(root)
    assert dataset.root == root / "lion"
    assert len(dataset.train) == 2


def test_an_identity_in_both_splits_is_warned_of(put):
    assert "Careful: 1 identity is in training and in the queries." in (
        open_dataset(put("train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg")).sentence
    )


def test_one_identity_is_an_error(put):
    with pytest.raises(DataError, match="one identity"):
        open_dataset(put("a/1.jpg", "a/2.jpg"))


def test_images_without_folders_are_an_error(put):
    with pytest.raises(DataError, match="2 images but no identity folders") as error:
        open_dataset(put("1.jpg", "2.jpg"))
    assert "table" in error.value.hint


def test_folders_without_images_are_an_error(put, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="holds no images in identity folders"):
        open_dataset(tmp_path)


def test_protocols_that_do_not_fit_are_refused(put):
    root = put("test/a/1.jpg", "test/b/1.jpg")
    with pytest.raises(SettingsError, match="camera of every test image; 2 of 2"):
        open_dataset(root, protocol="cross-camera")
    with pytest.raises(SettingsError, match="find itself"):
        open_dataset(root, protocol="all")
