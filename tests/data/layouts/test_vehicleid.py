from __future__ import annotations

import pytest

from reidtune.data import open_dataset
from reidtune.errors import DataError, SettingsError

from ..conftest import names

TRAIN = ("0000001 5", "0000002 5", "0000003 9")
SMALL = ("0000011 21", "0000012 21", "0000013 21", "0000014 30")
MEDIUM = (*SMALL, "0000015 31", "0000016 31")


@pytest.fixture
def vehicleid(put, tmp_path):
    """``vehicleid(train_list=…, test_list_800=…)`` writes these lists and images for them, all in one folder."""

    def write(**lists):
        chosen = {"train_list": TRAIN, "test_list_800": SMALL, "test_list_1600": MEDIUM, **lists}
        folder = tmp_path / "VehicleID_V1.0"
        (folder / "train_test_split").mkdir(parents=True)
        for name, lines in chosen.items():
            if lines is not None:
                put(*[f"VehicleID_V1.0/image/{line.split()[0]}.jpg" for line in lines])
                (folder / "train_test_split" / f"{name}.txt").write_text("\n".join(lines) + "\n")
        return folder

    return write


def test_names_without_suffix_and_no_cameras(vehicleid):
    dataset = open_dataset(vehicleid())
    assert (dataset.layout, dataset.task, dataset.protocol) == ("vehicleid", "image", "random-gallery")
    assert [(record.path.name, record.identity, record.camera) for record in dataset.train] == [
        ("0000001.jpg", 5, None),
        ("0000002.jpg", 5, None),
        ("0000003.jpg", 9, None),
    ]
    assert names(dataset.query) == ["0000011.jpg", "0000012.jpg", "0000013.jpg", "0000014.jpg"]
    assert dataset.query is dataset.gallery  # nothing is drawn yet, and no camera takes anything away
    assert dataset.sentence == (
        "VehicleID lists: 2 train identities (3 images), 4 test images of 2 identities, cameras unknown; one random "
        "test image of each identity is the gallery, the others are queries, ten times (random-gallery). The test "
        "split is test_list_800.txt; others: --layout vehicleid-1600."
    )


def test_the_test_list_is_chosen_by_the_layout(vehicleid):
    root = vehicleid()
    dataset = open_dataset(root, layout="vehicleid-1600")
    assert (dataset.layout, len(dataset.query)) == ("vehicleid-1600", 6)
    assert dataset.train == open_dataset(root).train
    assert "The test split is test_list_1600.txt; others: --layout vehicleid." in dataset.sentence
    assert dataset.manifest()["hash"] != open_dataset(root).manifest()["hash"]
    with pytest.raises(
        DataError, match=r"has no test_list_2400\.txt; there are test_list_800\.txt, test_list_1600"
    ) as error:
        open_dataset(root, layout="vehicleid-2400")
    assert error.value.hint == "Choose --layout vehicleid or --layout vehicleid-1600."


@pytest.mark.parametrize("size", [1600, 2400, 3200, 6000, 13164])
def test_the_smallest_list_is_the_default(vehicleid, size):
    lists = {"test_list_800": None, "test_list_1600": None, f"test_list_{size}": MEDIUM}
    dataset = open_dataset(vehicleid(**lists))
    assert (dataset.layout, len(dataset.query)) == (f"vehicleid-{size}", 6)
    assert f"The test split is test_list_{size}.txt." in dataset.sentence


def test_vehicle_0_is_no_distractor(vehicleid):
    dataset = open_dataset(vehicleid(train_list=("0000001 0", "0000002 0", "0000003 9")))
    assert [record.identity for record in dataset.train] == [1, 1, 2]
    assert [record.identity for record in dataset.query] == [3, 3, 3, 4]
    assert dataset.identity_names[1] == "0"


def test_the_folder_above_and_another_protocol(vehicleid, tmp_path):
    vehicleid()
    assert open_dataset(tmp_path).sentence.endswith('Found in "VehicleID_V1.0".')
    assert open_dataset(tmp_path, layout="vehicleid-1600").layout == "vehicleid-1600"
    dataset = open_dataset(tmp_path, protocol="leave-one-out")
    assert (dataset.protocol, len(dataset.gallery)) == ("leave-one-out", 4)
    with pytest.raises(SettingsError, match="camera of every test image; 4 of 4"):
        open_dataset(tmp_path, protocol="cross-camera")


def test_training_alone_and_test_alone(vehicleid, tmp_path):
    root = vehicleid(test_list_800=None, test_list_1600=None)
    train = open_dataset(root)
    assert (len(train.train), train.query, train.protocol) == (3, [], "random-gallery")
    (root / "train_test_split/train_list.txt").rename(root / "train_test_split/test_list_800.txt")
    assert (open_dataset(root).train, len(open_dataset(root).query)) == ([], 3)


def test_missing_images_lists_and_folders_are_named(vehicleid, tmp_path):
    root = vehicleid()
    (root / "image/0000012.jpg").unlink()
    dataset = open_dataset(root)
    assert "Careful: images of test_list_800.txt that do not exist: 1 (0000012)." in dataset.sentence
    assert names(dataset.query)[1] == "0000012.jpg"
    (root / "image").rename(root / "images")
    with pytest.raises(DataError, match='has the lists of VehicleID but no folder "image"'):
        open_dataset(root)
    with pytest.raises(DataError, match=r"has no train_test_split/train_list\.txt and no train_test_split/test_list_8"):
        open_dataset(root / "images", layout="vehicleid")


def test_other_suffixes_are_found(vehicleid):
    root = vehicleid()
    (root / "image/0000001.jpg").rename(root / "image/0000001.PNG")
    assert names(open_dataset(root).train)[0] == "0000001.PNG"
