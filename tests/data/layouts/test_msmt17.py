from __future__ import annotations

import pytest

from reidtune.data import cameras, open_dataset, require_split
from reidtune.errors import DataError

from ..conftest import names

MASKED = ("mask_train_v2", "mask_test_v2")
LISTS = {
    "train": ("0000/0000_000_01_0303morning_0008_0.jpg 0", "0001/0001_000_05_0303noon_0010_1.jpg 1"),
    "val": ("0000/0000_001_15_0303morning_0009_0.jpg 0",),
    "query": ("0000/0000_000_02_0303morning_0008_0.jpg 0", "0002/0002_000_14_0303noon_0010_1.jpg 2"),
    "gallery": ("0000/0000_001_03_0303morning_0008_0.jpg 0", "0002/0002_001_01_0303noon_0010_1.jpg 2"),
}


@pytest.fixture
def msmt17(put, tmp_path):
    """``msmt17(sides, folder, **lists)`` writes the images that LISTS or ``lists`` name, and the lists."""

    def write(sides=("train", "test"), folder="MSMT17_V1", images=True, **lists):
        root = tmp_path / folder
        for split, lines in {**LISTS, **lists}.items():
            if lines is None:
                continue
            side = sides[split in ("query", "gallery")]
            if images:
                put(*[f"{folder}/{side}/{line.rsplit(' ', 1)[0]}" for line in lines])
            root.mkdir(exist_ok=True)
            (root / f"list_{split}.txt").write_text("\n".join(lines) + "\n", "utf-8")
        return root

    return write


def people(records):
    return [(record.identity, record.camera) for record in records]


def test_both_sides_count_from_0_and_are_kept_apart(msmt17):
    dataset = open_dataset(msmt17())
    assert (dataset.layout, dataset.task, dataset.protocol) == ("msmt17", "image", "cross-camera")
    assert people(dataset.train) == [(1, 1), (2, 5), (1, 15)]
    assert people(dataset.query) == [(3, 2), (5, 14)]
    assert people(dataset.gallery) == [(3, 3), (5, 1)]
    assert dataset.identity_names == {1: "train/0000", 2: "train/0001", 3: "test/0000", 5: "test/0002"}
    assert dataset.sentence == (
        "MSMT17 V1 lists: 2 train identities (3 images), 2 queries, 2 gallery images, 6 cameras; same-identity "
        "same-camera pairs are ignored (cross-camera). list_val.txt (1 image, 1 of its identities also in "
        "list_train.txt) trains too, since it cannot tell how well strangers are found; validation is carved from the "
        "training identities. --layout msmt17-train leaves it out."
    )


def test_identity_0_is_a_person(msmt17):
    """Neither a distractor nor left out, as it would be by the names of Market-1501."""
    dataset = open_dataset(msmt17())
    everyone = [*dataset.train, *dataset.query, *dataset.gallery]
    assert all(record.identity > 0 for record in everyone)
    assert len(everyone) == sum(map(len, LISTS.values()))
    assert "left out of" not in dataset.sentence
    assert "Distractors" not in dataset.sentence


def test_the_list_of_validation_can_be_left_out(msmt17):
    root = msmt17()
    dataset = open_dataset(root, layout="msmt17-train")
    assert (dataset.layout, people(dataset.train)) == ("msmt17-train", [(1, 1), (2, 5)])
    assert list(dataset.validation) == []
    assert "list_val.txt (1 image) is left out; --layout msmt17 trains on it too." in dataset.sentence
    assert dataset.query == open_dataset(root).query  # identities keep their numbers


def test_v2_lies_in_folders_of_masked_faces(msmt17):
    dataset = open_dataset(msmt17(MASKED, "MSMT17_V2"))
    assert dataset.sentence.startswith("MSMT17 V2 lists: 2 train")
    assert dataset.train[0].path.parts[-3] == "mask_train_v2"
    assert dataset.gallery[0].path.parts[-3] == "mask_test_v2"
    assert dataset.identity_names[3] == "mask_test_v2/0000"


def test_both_versions_beside_each_other_are_not_guessed_between(msmt17, tmp_path):
    msmt17()
    assert open_dataset(tmp_path).sentence.endswith('Found in "MSMT17_V1".')
    msmt17(MASKED, "MSMT17_V2")
    for layout in (None, "msmt17"):
        with pytest.raises(DataError, match="holds 2 datasets: MSMT17_V1, MSMT17_V2"):
            open_dataset(tmp_path, layout)


def test_the_folders_of_both_versions_in_one_are_told_apart_by_the_list(msmt17, put):
    root = msmt17(MASKED)
    put("MSMT17_V1/train/0007/other.jpg", "MSMT17_V1/test/0007/other.jpg")
    assert open_dataset(root).sentence.startswith("MSMT17 V2")


def test_the_camera_is_a_field_of_the_base_name(msmt17):
    """The third of the whole line would be something else below a folder with a line in its name."""
    line = "part_a_b/0000/0000_000_07_0303morning_0008_0.jpg 0"
    assert open_dataset(msmt17(train=(line, LISTS["train"][1]))).train[0].camera == 7
    with pytest.raises(DataError, match=r'list_query\.txt", line 2: 0001/x\.jpg tells no camera'):
        open_dataset(msmt17(query=(LISTS["query"][0], "0001/x.jpg 1")))


def test_all_15_cameras(msmt17):
    lines = [f"0000/0000_{n:03}_{n:02}_0303noon_0001_0.jpg 0" for n in range(1, 16)]
    dataset = open_dataset(msmt17(train=(*lines, LISTS["train"][1]), val=None))
    assert cameras(dataset.train) == set(range(1, 16))
    assert "list_val" not in dataset.sentence


def test_a_file_that_a_list_names_and_is_missing_is_told_and_stays(msmt17):
    root = msmt17()
    (root / "test/0002/0002_001_01_0303noon_0010_1.jpg").unlink()
    dataset = open_dataset(root)
    told = "Careful: images of list_gallery.txt that do not exist: 1 (0002/0002_001_01_0303noon_0010_1.jpg)."
    assert told in dataset.sentence
    assert names(dataset.gallery)[1] == "0002_001_01_0303noon_0010_1.jpg"  # so that whoever reads it fails


def test_a_list_of_other_images_than_the_folder_has_is_refused(msmt17):
    root = msmt17()
    (root / "list_query.txt").write_text("0000/elsewhere_0_01_a.jpg 0\n0001/elsewhere_0_01_a.jpg 1\n")
    with pytest.raises(DataError, match=r'None of the 2 images of "list_query\.txt" is in ".*test", such as') as error:
        open_dataset(root)
    assert error.value.exit_code == 4


@pytest.mark.parametrize("line", ["0000/0000_000_01_a.jpg", "0000/0000_000_01_a.jpg x", "0000/0000_000_01_a.jpg -1"])
def test_a_line_without_an_identity_is_named(msmt17, line):
    with pytest.raises(DataError, match=r'list_train\.txt", line 3: .* is no image and its identity'):
        open_dataset(msmt17(train=(*LISTS["train"], line), images=False))


def test_lists_without_folders_and_half_a_test_split_are_refused(msmt17):
    with pytest.raises(DataError, match=r'neither of its folders: "train" and "test" \(V1\) and "mask_train_v2"'):
        open_dataset(msmt17(images=False))
    root = msmt17(folder="half")
    (root / "list_gallery.txt").unlink()
    with pytest.raises(DataError, match=r"has list_query\.txt but no list_gallery\.txt"):
        open_dataset(root)
    with pytest.raises(DataError, match=r"has no list_train\.txt and no list_query\.txt"):
        open_dataset(root / "train", layout="msmt17")


def test_either_side_alone_can_be_opened(msmt17):
    test = open_dataset(msmt17(train=None, val=None))
    assert (list(test.train), people(test.query)) == ([], [(1, 2), (3, 14)])
    train = open_dataset(msmt17(folder="one", query=None, gallery=None))
    require_split(train, "train")
    assert "no test split" in train.sentence


def test_lists_from_windows_and_blank_lines(msmt17):
    root = msmt17()
    text = (root / "list_query.txt").read_text()
    (root / "list_query.txt").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n\r\n").encode())
    assert people(open_dataset(root).query) == [(3, 2), (5, 14)]
    (root / "list_query.txt").write_text("\n")
    with pytest.raises(DataError, match=r'list_query\.txt" is empty'):
        open_dataset(root)


def test_both_versions_side_by_side_are_told(msmt17):
    msmt17(MASKED, folder="both")
    sentence = open_dataset(msmt17(folder="both")).sentence
    assert sentence.startswith("MSMT17 V1 lists")
    assert 'Careful: V2 is there too ("mask_train_v2"), but the lists are read as those of V1' in sentence
    assert "there too" not in open_dataset(msmt17(MASKED)).sentence
