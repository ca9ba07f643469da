from __future__ import annotations

import pytest

from reidtune.data import open_dataset
from reidtune.errors import DataError, SettingsError

FOLDERS = ("vis", "ni", "th")


def vehicle(folder, *files, folders=FOLDERS):
    return [f"{folder}/{modality}/{file}" for modality in folders for file in files]


MSVR310 = [
    *vehicle("bounding_box_train/0001", "0001_s003_v0_000.jpg", "0001_s004_v7_000.jpg"),
    *vehicle("bounding_box_train/0002", "0002_s003_v1_000.jpg"),
    *vehicle("query3/0019", "0019_s012_v0_000.jpg"),
    *vehicle("bounding_box_test/0019", "0019_s012_v0_000.jpg", "0019_s012_v4_000.jpg", "0019_s013_v0_000.jpg"),
    *vehicle("bounding_box_test/0020", "0020_s012_v2_000.jpg"),
]


def test_msvr310_drops_the_same_scene(put):
    root = put(*MSVR310)
    dataset = open_dataset(root)
    assert (dataset.layout, dataset.task, dataset.protocol) == ("msvr310", "multimodal", "cross-scene")
    assert dataset.modalities == ("rgb", "nir", "tir")
    assert [(r.identity, r.scene, r.camera) for r in dataset.train] == [(1, 3, 0), (1, 4, 7), (2, 3, 1)]
    assert [(r.identity, r.scene, r.camera) for r in dataset.query] == [(19, 12, 0)]
    assert [(r.identity, r.scene) for r in dataset.gallery] == [(19, 12), (19, 12), (19, 13), (20, 12)]
    name = "0019_s012_v0_000.jpg"
    assert [image.path for image in dataset.query[0].images] == [root / "query3/0019" / m / name for m in FOLDERS]
    assert dataset.sentence == (
        "MSVR310: 2 train identities (3 samples), 1 query, 4 gallery samples, 5 cameras, 4 scenes, "
        "modalities rgb, nir and tir; same-identity same-scene pairs are ignored (cross-scene)."
    )


def test_another_protocol_can_be_asked_for(put):
    root = put(*MSVR310)
    dataset = open_dataset(root, protocol="cross-camera")
    assert dataset.protocol == "cross-camera"
    assert "scene" not in dataset.sentence
    with pytest.raises(SettingsError, match="cross-sceen"):
        open_dataset(root, protocol="cross-sceen")


def test_msvr310_with_a_missing_thermal_image(put):
    root = put(*MSVR310)
    (root / "query3/0019/th/0019_s012_v0_000.jpg").unlink()
    (root / "bounding_box_test/0019/vis/0019_s012_v4_000.jpg").unlink()
    dataset = open_dataset(root)
    assert dataset.query[0].modalities == ("rgb", "nir")
    assert dataset.gallery[1].modalities == ("nir", "tir")
    assert "Samples that lack a modality: 2 (rgb 1, tir 1)." in dataset.sentence


def test_msvr310_can_be_trained_on_without_its_test_part(put):
    dataset = open_dataset(put(*MSVR310[:9]))
    assert (len(dataset.train), len(dataset.query)) == (3, 0)
    assert "no test split" in dataset.sentence


def test_the_name_and_not_the_folder_says_which_vehicle_it_is(put):
    dataset = open_dataset(put(*MSVR310, *vehicle("bounding_box_train/0002", "0001_s009_v0_000.jpg", "front.jpg")))
    assert sorted(r.identity for r in dataset.train) == [1, 1, 1, 2]
    assert "samples in the folder of another vehicle than they are named after: 1." in dataset.sentence
    assert "the name tells no vehicle, scene and view: 1 (front.jpg)." in dataset.sentence


def test_names_of_another_dataset_are_told(put):
    with pytest.raises(DataError, match=r"no images named as 0019_s012_v0_000\.jpg .*only such as v1_n0\.jpg"):
        open_dataset(put(*vehicle("query3/0001", "v1_n0.jpg")))


WILD = [
    *vehicle("train/0001", "v1_n0_001.jpg", "v3_n1_002.jpg"),
    *vehicle("train/0003", "v1_n0_001.jpg"),
    *vehicle("query/0002", "v8_n1_000.jpg"),
    *vehicle("test/0002", "v8_n1_000.jpg", "v2_n0_000.jpg"),
    *vehicle("test/0004", "v1_n0_000.jpg"),
]


@pytest.mark.parametrize("gallery", ["test", "gallery"])
def test_wmveid863_has_the_view_as_camera(put, gallery):
    root = put(*[file.replace("test/", f"{gallery}/") for file in WILD])
    dataset = open_dataset(root)
    assert (dataset.layout, dataset.task, dataset.protocol) == ("wmveid863", "multimodal", "cross-camera")
    assert [(r.identity, r.camera) for r in dataset.train] == [(1, 1), (1, 3), (3, 1)]
    assert [(r.identity, r.camera) for r in dataset.query] == [(2, 8)]
    assert sorted((r.identity, r.camera) for r in dataset.gallery) == [(2, 2), (2, 8), (4, 1)]
    assert dataset.sentence.startswith(
        "WMVeID863: 2 train identities (3 samples), 1 query, 3 gallery samples, 4 cameras, modalities rgb, nir and tir;"
    )
    assert "sorted order" not in dataset.sentence


def pairs(dataset):
    return [tuple(image.path.name for image in record.images) for record in dataset.train if record.identity == 9]


def test_other_names_are_aligned_in_sorted_order(put):
    """Whatever the order in which the folder is listed: files are written in another one."""
    own = [
        *vehicle("train/0009", "v2_n0_b.jpg", "v1_n0_a.jpg", folders=("vis",)),
        *vehicle("train/0009", "v1_n0_x.jpg", "v2_n0_y.jpg", folders=("ni",)),
        *vehicle("train/0009", "v2_n0_q.jpg", "v1_n0_p.jpg", folders=("th",)),
    ]
    dataset = open_dataset(put(*WILD, *own))
    assert pairs(dataset) == [
        ("v1_n0_a.jpg", "v1_n0_x.jpg", "v1_n0_p.jpg"),
        ("v2_n0_b.jpg", "v2_n0_y.jpg", "v2_n0_q.jpg"),
    ]
    assert "file names, aligned in sorted order: 1 (train/0009)." in dataset.sentence


def test_names_that_agree_are_never_shifted_by_a_missing_file(put):
    own = [
        *vehicle("train/0009", "v1_a.jpg", "v1_b.jpg", "v1_c.jpg", folders=("vis",)),
        *vehicle("train/0009", "v1_b.jpg", "v1_c.jpg", "v1_d.jpg", folders=("ni", "th")),
    ]
    dataset = open_dataset(put(*WILD, *own))
    assert pairs(dataset) == [("v1_a.jpg",), ("v1_b.jpg",) * 3, ("v1_c.jpg",) * 3, ("v1_d.jpg",) * 2]
    assert "Samples that lack a modality: 2 (rgb 1, nir 1, tir 1)." in dataset.sentence


@pytest.mark.parametrize(
    ("thermal", "counts"),
    [
        (("v1_x.jpg",), "rgb 2, nir 2, tir 1"),  # which of the two is it?
        (("v1_x.jpg", "v3_y.jpg"), "rgb 2, nir 2, tir 2"),  # the second shows another view
    ],
)
def test_what_cannot_be_aligned_is_left_out_and_told(put, thermal, counts):
    own = vehicle("train/0009", "v1_a.jpg", "v2_b.jpg", folders=("vis", "ni"))
    dataset = open_dataset(put(*WILD, *own, *vehicle("train/0009", *thermal, folders=("th",))))
    assert pairs(dataset) == []
    assert len(dataset.train) == 3
    told = f"left out, since neither names nor order tell which files belong together: 1 (train/0009 with {counts})."
    assert told in dataset.sentence


def test_a_vehicle_without_thermal_images_has_two_modalities(put):
    dataset = open_dataset(put(*WILD, *vehicle("train/0009", "v1_a.jpg", folders=("vis", "ni"))))
    assert [r.modalities for r in dataset.train if r.identity == 9] == [("rgb", "nir")]


def test_own_names_of_individuals_and_no_views(put):
    files = [
        *vehicle("train/Zoe", "1.jpg", "2.jpg", folders=("rgb", "thermal")),
        *vehicle("train/Ayo", "1.jpg", folders=("rgb", "thermal")),
        *vehicle("test/Kit", "1.jpg", "2.jpg", folders=("rgb", "thermal")),
    ]
    dataset = open_dataset(put(*files))
    assert dataset.identity_names == {1: "Ayo", 2: "Kit", 3: "Zoe"}
    assert (dataset.modalities, dataset.protocol) == (("rgb", "tir"), "leave-one-out")
    assert dataset.query is dataset.gallery
    assert "cameras unknown" in dataset.sentence


def test_folders_of_vehicles_alone_are_divided_where_they_are_several(put):
    """Else a folder an identity would be read from them, with the images of all modalities mixed."""
    root = put(*[file for i in range(5) for file in vehicle(f"own/{i:04d}", "1.jpg", "2.jpg", folders=("vis", "ni"))])
    dataset = open_dataset(root / "own")
    assert (dataset.layout, dataset.task, len(dataset.train), len(dataset.query)) == ("wmveid863", "multimodal", 6, 4)
    two = put(*[file for name in ("one", "two") for file in vehicle(f"both/{name}", "1_c1_1.jpg", "2_c1_1.jpg")])
    with pytest.raises(DataError, match="holds 2 datasets: one, two"):
        open_dataset(two / "both")
    assert open_dataset(two / "both", layout="wmveid863").identity_names == {1: "one", 2: "two"}


def test_a_folder_without_modalities_is_told(put):
    sentence = open_dataset(put(*WILD, "train/0005/1.png")).sentence
    assert "Folders without images in folders of modalities: 1 (train/0005)." in sentence


def test_no_vehicle_with_images_is_told(put):
    with pytest.raises(DataError, match=r"no samples in folders of vehicles, such as train/0001/vis\."):
        open_dataset(put("train/0001/1.png"), layout="msvwild863")
