from __future__ import annotations

import pytest

from reidtune.data import open_dataset
from reidtune.errors import DataError


@pytest.mark.parametrize(
    ("files", "title"),
    [
        (("train_171/RGB/1.png", "train_171/NI/1.png", "train_171/TI/1.png"), "RGBNT201"),
        (("RGB/1.png", "NI/1.png", "TI/1.png"), "RGBNT201"),
        (("bounding_box_train/0001/vis/1.png", "query3/0001/vis/1.png"), "MSVR310"),
        (("rgbir/bounding_box_train/0001_c0001_1.png",), "RGBNT100"),
        (("train/0000/1.png", "list_train.txt"), "MSMT17"),
    ],
)
def test_datasets_that_come_later_are_refused_by_name(put, tmp_path, files, title):
    root = put(*[f"data/{file}" for file in files if file.endswith(".png")])
    for file in files:
        if not file.endswith(".png"):
            (root / "data" / file).touch()
    for path in (root / "data", root):
        with pytest.raises(DataError, match=f"is {title}, a layout that is not read yet") as error:
            open_dataset(path)
    assert error.value.exit_code == 4


def test_the_inner_folder_of_rgbnt100_is_not_read_as_market(put):
    root = put(*[f"rgbir/{folder}/0001_c0001_1.png" for folder in ("bounding_box_train", "query", "bounding_box_test")])
    with pytest.raises(DataError, match="RGBNT100"):
        open_dataset(root / "rgbir")


def test_asking_for_one_by_name_is_refused_too(put):
    with pytest.raises(DataError, match=r"VehicleID \(vehicleid\) is not read yet"):
        open_dataset(put("a/1.png"), layout="vehicleid")
