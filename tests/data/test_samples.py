from __future__ import annotations

from pathlib import Path

import pytest

from reidtune.data import samples_below
from reidtune.data.samples import align, modality_folders
from reidtune.errors import DataError


def test_files_of_one_name_are_one_sample(put):
    root = put("TI/b.jpg", "RGB/a.jpg", "RGB/b.jpg", "ni/a.jpg", "RGB/sub/a.png", "notes/1.jpg")
    assert samples_below(root) == [
        ("a.jpg", {"rgb": root / "RGB/a.jpg", "nir": root / "ni/a.jpg"}),
        ("b.jpg", {"rgb": root / "RGB/b.jpg", "tir": root / "TI/b.jpg"}),
        ("sub/a.png", {"rgb": root / "RGB/sub/a.png"}),
    ]
    assert list(modality_folders(root)) == ["rgb", "nir", "tir"]


def test_a_name_keeps_its_first_files_suffix_and_the_order_of_modalities(put):
    root = put("vis/a.jpg", "th/a.png", "th/b.png")
    assert [(name, list(files)) for name, files in samples_below(root)] == [
        ("a.jpg", ["rgb", "tir"]),
        ("b.png", ["tir"]),
    ]


@pytest.mark.parametrize("files", [("a/1.jpg", "b/1.jpg"), ("RGB/1.jpg", "depth/1.jpg"), ("1.jpg",)])
def test_a_folder_of_fewer_than_two_known_modalities_is_none(put, files):
    assert samples_below(put(*files)) is None


def test_two_folders_of_one_modality_are_refused(put):
    with pytest.raises(DataError, match='two folders of the modality rgb: "RGB" and "vis"'):
        samples_below(put("RGB/1.jpg", "vis/1.jpg"))


def aligned(**names):
    files = {modality: {name: Path(modality, name) for name in there} for modality, there in names.items()}
    return [(name, {m: path.name for m, path in files.items()}) for name, files in align(files)]


def test_a_modalitys_own_word_at_the_end_does_not_count():
    assert aligned(rgb=["7_rgb.png", "8_VIS.png"], nir=["7-ni.png", "8_nir.jpg"]) == [
        ("7.png", {"rgb": "7_rgb.png", "nir": "7-ni.png"}),
        ("8.png", {"rgb": "8_VIS.png", "nir": "8_nir.jpg"}),
    ]


def test_a_word_that_all_names_end_in_counts():
    assert aligned(rgb=["7_ir.png"], tir=["7_ir.png"]) == [("7_ir.png", {"rgb": "7_ir.png", "tir": "7_ir.png"})]


def test_a_word_that_joins_nothing_stays_in_the_name():
    assert [name for name, _ in aligned(rgb=["7_rgb.png"], nir=["8_nir.png"])] == ["7_rgb.png", "8_nir.png"]


def test_names_that_differ_only_in_suffix_stay_apart():
    assert aligned(rgb=["7.png", "7.jpg"], nir=["7.jpg"]) == [
        ("7.jpg", {"rgb": "7.jpg", "nir": "7.jpg"}),
        ("7.png", {"rgb": "7.png"}),
    ]


def test_nothing_is_no_sample():
    assert aligned() == []
    assert aligned(rgb=[], nir=[]) == []
