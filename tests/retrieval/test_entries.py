"""Which files of a folder are one sample, and what is said of the others."""

import pytest

from reidtune.errors import DataError, SettingsError
from reidtune.retrieval.entries import ABSENT, list_entries, modalities_for
from reidtune.retrieval.files import Listing

NAMES = ("rgb", "nir", "tir")


def listing(*files):
    return Listing({file: (place, 10 * place, 100 * place) for place, file in enumerate(sorted(files))})


def samples(found):
    return dict(zip(found.names, found.files, strict=True))


def test_images_are_entries_of_one_file():
    found = list_entries(listing("b.jpg", "a/c.jpg"))
    assert (found.names, found.files, found.notes) == (["a/c.jpg", "b.jpg"], [("a/c.jpg",), ("b.jpg",)], ())
    assert found.stamps.tolist() == [[[0, 0, 0]], [[1, 10, 100]]]
    assert list_entries(listing()).names == []


def test_files_of_one_name_in_folders_of_modalities_are_a_sample():
    files = listing("RGB/1.jpg", "NI/1.jpg", "TI/1.jpg", "RGB/2.jpg", "TI/3.jpg")
    found = list_entries(files, NAMES)
    assert samples(found) == {
        "1.jpg": ("RGB/1.jpg", "NI/1.jpg", "TI/1.jpg"),
        "2.jpg": ("RGB/2.jpg", None, None),
        "3.jpg": (None, None, "TI/3.jpg"),
    }
    assert found.notes == ()
    stamps = {name: row.tolist() for name, row in zip(found.names, found.stamps, strict=True)}
    assert stamps["2.jpg"] == [list(files.files["RGB/2.jpg"]), list(ABSENT), list(ABSENT)]


def test_files_stand_in_the_order_of_the_models_modalities():
    found = list_entries(listing("RGB/1.jpg", "TI/1.jpg"), ("tir", "rgb"))
    assert samples(found) == {"1.jpg": ("TI/1.jpg", "RGB/1.jpg")}


def test_suffixes_and_words_of_modalities_do_not_part_a_sample():
    found = list_entries(listing("vis/1.png", "th/1.jpg", "vis/2_vis.png", "th/2_th.png"), NAMES)
    assert sorted(found.files) == [("vis/1.png", None, "th/1.jpg"), ("vis/2_vis.png", None, "th/2_th.png")]


def test_folders_of_modalities_may_lie_deeper():
    found = list_entries(listing("test/RGB/1.jpg", "test/NI/1.jpg", "train/RGB/1.jpg", "7/vis/s/2.jpg"), NAMES)
    assert samples(found) == {
        "7/s/2.jpg": ("7/vis/s/2.jpg", None, None),
        "test/1.jpg": ("test/RGB/1.jpg", "test/NI/1.jpg", None),
        "train/1.jpg": ("train/RGB/1.jpg", None, None),
    }


def test_names_of_the_models_own():
    found = list_entries(listing("Sketch/1.jpg", "rgb/1.jpg"), ("rgb", "sketch"))
    assert samples(found) == {"1.jpg": ("rgb/1.jpg", "Sketch/1.jpg")}


def test_what_the_model_does_not_know_is_left_out_and_said():
    found = list_entries(listing("RGB/1.jpg", "NI/1.jpg", "TI/1.jpg", "TI/2.jpg", "more/5.jpg"), ("rgb", "nir"))
    assert samples(found) == {"1.jpg": ("RGB/1.jpg", "NI/1.jpg")}
    assert found.notes == (
        "The model does not know the modality tir: these images are left out.",
        "1 image lies outside of the folders of modalities and counts for nothing.",
    )
    with pytest.raises(DataError, match="images of the modalities rgb, tir, and the model knows only nir"):
        list_entries(listing("RGB/1.jpg", "TI/1.jpg"), ("nir",))


@pytest.mark.parametrize(
    ("folder", "column", "why"), [("photos", 0, "as nothing else is said"), ("NI", 1, "as the folder is called so")]
)
def test_a_plain_folder_is_of_one_modality(folder, column, why):
    found = list_entries(listing("1.jpg", "color/2.jpg"), NAMES, folder=folder)
    assert [row[column] for row in found.files] == found.names == ["1.jpg", "color/2.jpg"]
    assert {row[place] for row in found.files for place in range(3) if place != column} == {None}
    assert found.notes == (f"Every image counts as {NAMES[column]}, {why}; --modality NAME says another.",)


def test_the_modality_that_is_said_holds_for_all():
    found = list_entries(listing("RGB/1.jpg", "NI/1.jpg"), NAMES, "tir", "NI")
    assert sorted(found.files) == [(None, None, "NI/1.jpg"), (None, None, "RGB/1.jpg")]
    assert found.notes == ("Every image counts as tir, also those in the folders of rgb, nir.",)
    assert list_entries(listing("1.jpg"), NAMES, "tir").notes == ()


def test_a_single_folder_of_a_modality_that_holds_everything():
    assert samples(list_entries(listing("TH/1.jpg"), NAMES)) == {"1.jpg": (None, None, "TH/1.jpg")}


def test_two_images_of_one_modality_are_refused():
    with pytest.raises(DataError, match='"RGB/1.jpg" and "vis/1.jpg" are both the rgb image'):
        list_entries(listing("RGB/1.jpg", "vis/1.jpg", "NI/1.jpg"), NAMES)


def test_without_modalities_folders_called_after_them_are_mentioned():
    found = list_entries(listing("RGB/1.jpg", "NI/1.jpg"))
    assert found.names == ["NI/1.jpg", "RGB/1.jpg"]
    assert "folders of rgb, nir: to search samples, name the query's images, as in --image rgb=FILE" in found.notes[0]
    assert list_entries(listing("color/1.jpg")).notes == ()


def test_modalities_for_a_model_that_has_none(tmp_path):
    for name in ("TI/1.jpg", "RGB/1.jpg"):
        (tmp_path / "both" / name).parent.mkdir(parents=True)
        (tmp_path / "both" / name).write_bytes(b"")
    (tmp_path / "plain").mkdir()
    assert modalities_for(tmp_path / "both", ["nir"]) == ("rgb", "tir")
    assert modalities_for(tmp_path / "plain", ["", "th", "VIS"]) == ("rgb", "tir")
    with pytest.raises(SettingsError, match='"rgbb" is no known modality. Did you mean "rgb"'):
        modalities_for(tmp_path / "plain", ["rgbb"])
    with pytest.raises(DataError, match="no folder"):
        modalities_for(tmp_path / "nowhere", ["rgb"])
