from __future__ import annotations

import pytest

from reidtune.data import open_dataset
from reidtune.errors import DataError


@pytest.mark.parametrize(
    ("files", "title"),
    [
        (("train/0000/1.png", "list_train.txt"), "MSMT17"),
        (("image/1.png", "train_test_split/train_list.txt"), "VehicleID"),
    ],
)
def test_datasets_that_come_later_are_refused_by_name(put, tmp_path, files, title):
    root = put(*[f"data/{file}" for file in files if file.endswith(".png")])
    for file in files:
        if not file.endswith(".png"):
            (root / "data" / file).parent.mkdir(exist_ok=True)
            (root / "data" / file).touch()
    for path in (root / "data", root):
        with pytest.raises(DataError, match=f"is {title}, a layout that is not read yet") as error:
            open_dataset(path)
    assert error.value.exit_code == 4


def test_asking_for_one_by_name_is_refused_too(put):
    with pytest.raises(DataError, match=r"VehicleID \(vehicleid\) is not read yet"):
        open_dataset(put("a/1.png"), layout="vehicleid")
