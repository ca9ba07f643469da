from __future__ import annotations

import pytest

from reidtune.data import open_dataset
from reidtune.errors import DataError


@pytest.mark.parametrize(
    "file", ["cuhk-03.mat", "cuhk03_release/cuhk-03.mat", "cuhk03_new_protocol_config_detected.mat"]
)
def test_the_original_is_refused_with_a_pointer(put, tmp_path, file):
    root = put("archive/splits/1.png") / "archive"
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_bytes(b"MATLAB")
    for path in (root, tmp_path):
        with pytest.raises(DataError, match="is the original CUHK03, whose images are inside cuhk-03") as error:
            open_dataset(path)
        assert error.value.exit_code == 4
        assert "CUHK03-NP" in error.value.hint


def test_the_file_itself_and_the_name_of_the_layout_are_refused_too(put, tmp_path):
    (tmp_path / "cuhk-03.mat").write_bytes(b"MATLAB")
    with pytest.raises(DataError, match="is the original CUHK03"):
        open_dataset(tmp_path / "cuhk-03.mat")
    with pytest.raises(DataError, match="is the original CUHK03"):
        open_dataset(put("a/1.png"), layout="cuhk03")


def test_the_new_protocol_beside_it_is_read(put, tmp_path):
    kinds = [f"{kind}/{name}" for kind in ("detected", "labeled") for name in ("bounding_box_train/0003_c1_2.png",)]
    root = put(*kinds, "labeled/bounding_box_train/0004_c2_1.png")
    (tmp_path / "cuhk-03.mat").write_bytes(b"MATLAB")
    with pytest.raises(DataError, match="holds 2 datasets: detected, labeled"):
        open_dataset(root)
    assert open_dataset(root / "labeled").sentence.startswith("CUHK03-NP names: 2 train identities")
