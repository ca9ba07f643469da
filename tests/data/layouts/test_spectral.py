from __future__ import annotations

import pytest

from reidtune.data import check_files, open_dataset
from reidtune.demo.world import render_world
from reidtune.errors import DataError, SettingsError

from ..conftest import names

FOLDERS = ("RGB", "NI", "TI")


def everywhere(split, *files, folders=FOLDERS):
    return [f"{split}/{folder}/{file}" for folder in folders for file in files]


TRAIN = everywhere("train_171", "000001_cam1_0_00.jpg", "000001_cam4_0_00.jpg", "000258_cam2_0_01.jpg")
TEST = everywhere(
    "test", "000010_cam1_0_00.jpg", "000010_cam2_0_00.jpg", "000011_cam1_0_00.jpg", "000011_cam2_0_07.jpg"
)


def test_rgbnt201(put):
    root = put(*TRAIN, *TEST)
    dataset = open_dataset(root)
    assert (dataset.layout, dataset.task, dataset.protocol) == ("rgbnt201", "multimodal", "cross-camera")
    assert dataset.modalities == ("rgb", "nir", "tir")
    assert [(r.identity, r.camera) for r in dataset.train] == [(1, 1), (1, 4), (258, 2)]
    assert dataset.query is dataset.gallery
    assert [(r.identity, r.camera) for r in dataset.query] == [(10, 1), (10, 2), (11, 1), (11, 2)]
    first = dataset.train[0]
    assert first.modalities == dataset.modalities
    assert [image.path for image in first.images] == [root / file for file in TRAIN[::3]]
    assert dataset.sentence == (
        "RGBNT201 names: 2 train identities (3 samples), 4 test samples of 2 identities, 3 cameras, "
        "modalities rgb, nir and tir; same-identity same-camera pairs are ignored (cross-camera)."
    )


def test_the_demo_world_is_one(tmp_path):
    render_world(tmp_path, identities=6, kinds=("multimodal",))
    dataset = open_dataset(tmp_path / "multimodal")
    assert (dataset.layout, dataset.modalities) == ("rgbnt201", ("rgb", "nir", "tir"))
    assert dataset.train and dataset.query is dataset.gallery
    assert all(len(record.images) == 3 for record in [*dataset.train, *dataset.query])
    assert "lack" not in dataset.sentence
    check_files([*dataset.train, *dataset.query])


@pytest.mark.parametrize("where", ["bounding_box_train", "train"])
def test_market1501_mm_has_junk_and_distractors(put, where):
    dataset = open_dataset(
        put(
            *everywhere(where, "0002_c1s1_000451_03.jpg", "0007_c2s3_000001_00.jpg"),
            *everywhere("query", "0003_c1s1_000001_00.jpg"),
            *everywhere("gallery", "0003_c2s1_000001_00.jpg", "0000_c3s1_000001_00.jpg", "-1_c1s1_000001_00.jpg"),
        )
    )
    assert [(r.identity, r.camera) for r in dataset.train] == [(2, 1), (7, 2)]
    assert [r.identity for r in dataset.gallery] == [-1, 0, 3]
    assert (len(dataset.query), dataset.protocol) == (1, "cross-camera")
    assert dataset.sentence.startswith(
        "Market1501-MM names: 2 train identities (2 samples), 1 query, 2 gallery samples, 3 cameras, "
        "modalities rgb, nir and tir;"
    )
    assert "Distractors (identity 0) in the gallery: 1." in dataset.sentence


def test_a_missing_file_is_a_missing_modality_also_where_only_rgb_lacks_it(put):
    root = put(*TRAIN, *TEST)
    for file in (TRAIN[3], TEST[0], TEST[4]):  # of NI; of RGB; of NI of the same sample as the one before
        (root / file).unlink()
    dataset = open_dataset(root)
    assert [r.modalities for r in dataset.train] == [("rgb", "tir"), ("rgb", "nir", "tir"), ("rgb", "nir", "tir")]
    assert dataset.query[0].modalities == ("tir",)
    assert dataset.query[0].path == root / TEST[8]
    assert (len(dataset.train), len(dataset.query)) == (3, 4)
    assert "Samples that lack a modality: 2 (rgb 1, nir 2)." in dataset.sentence


def test_suffixes_do_not_count(put):
    dataset = open_dataset(put("train/RGB/000001_cam1_0_00.jpg", "train/NI/000001_cam1_0_00.png", *TEST))
    assert names(dataset.train) == ["000001_cam1_0_00.jpg"]
    assert dataset.train[0].modalities == ("rgb", "nir")


def test_folders_may_go_by_other_names_and_lie_in_any_order(put):
    dataset = open_dataset(put(*everywhere("test", "1_c1_x.jpg", "1_c2_x.jpg", "2_c1_x.jpg", folders=("th", "vis"))))
    assert dataset.modalities == ("rgb", "tir")
    assert dataset.query[0].images[0].path.parent.name == "vis"
    assert dataset.sentence.startswith(
        "Modality folders: no training split, 3 test samples of 2 identities, 2 cameras,"
    )


def test_folders_of_modalities_alone_are_divided(put):
    files = [f"{folder}/{i:06d}_cam{c}_0_00.jpg" for folder in FOLDERS for i in range(1, 9) for c in (1, 2)]
    dataset = open_dataset(put(*files))
    assert (len(dataset.train), len(dataset.query), dataset.protocol) == (8, 8, "cross-camera")
    assert not {r.identity for r in dataset.train} & {r.identity for r in dataset.query}


def test_the_practice_split_counts_and_what_is_not_read_is_told(put):
    other = everywhere("train", "000009_cam1_0_00.jpg")
    dataset = open_dataset(put(*TRAIN, *TEST, *other, *everywhere("val", "000010_cam1_0_00.jpg"), "pictures/1.png"))
    assert {r.identity for r in dataset.train} == {1, 258}
    assert 'Not used: "val" (1 sample)' in dataset.sentence
    assert "Folders that are not read: pictures, train." in dataset.sentence


def test_one_test_camera_is_leave_one_out(put):
    dataset = open_dataset(put(*everywhere("test", "1_c1_a.jpg", "1_c1_b.jpg", "2_c1_a.jpg")))
    assert dataset.protocol == "leave-one-out"
    assert "each test sample is a query against all others" in dataset.sentence
    with pytest.raises(SettingsError, match="cross-scene"):
        open_dataset(dataset.root, protocol="cross-scene")


def test_names_that_tell_nothing_are_left_out_and_told(put):
    root = put(*TRAIN, *everywhere("train_171", "portrait.jpg"), *TEST)
    assert "tells no identity and camera: 1 (portrait.jpg)." in open_dataset(root).sentence
    with pytest.raises(DataError, match=r"as 000028_cam1_0_02\.jpg does: 1 samples such as zoo\.png") as error:
        open_dataset(put("own/RGB/zoo.png", "own/NIR/zoo.png") / "own")
    assert "table" in error.value.hint


def test_two_folders_of_one_modality_are_refused(put):
    root = put(*TRAIN, *TEST, "train_171/thermal/000001_cam1_0_00.jpg")
    with pytest.raises(DataError, match='two folders of the modality tir: "TI" and "thermal"'):
        open_dataset(root)


def test_one_modality_that_is_not_empty_is_not_enough(put):
    root = put(*everywhere("test", "1_c1_a.jpg", "2_c2_b.jpg"))
    for file in [*(root / "test" / "NI").iterdir(), *(root / "test" / "TI").iterdir()]:
        file.unlink()
    with pytest.raises(DataError, match="one modality only: rgb"):
        open_dataset(root)


def test_asked_for_by_name_a_folder_without_modalities_is_told(put):
    with pytest.raises(DataError, match="no images in folders of modalities"):
        open_dataset(put("a/1.png", "b/1.png"), layout="market1501-mm")


def test_the_folder_above_will_do(put):
    root = put(*[f"RGBNT201/{file}" for file in [*TRAIN, *TEST]])
    dataset = open_dataset(root)
    assert dataset.sentence.endswith('Found in "RGBNT201".')
    assert dataset.manifest() == open_dataset(root / "RGBNT201").manifest()
