from __future__ import annotations

import json
import time

import pytest

from reidtune.data import open_dataset, require_split
from reidtune.errors import DataError


def entry(path, identity, split, *captions, key="file_path", **more):
    return {"split": split, "captions": list(captions or ("a man",)), key: path, "id": identity, **more}


PEOPLE = [
    entry("cam_a/1.jpg", 1, "train", "red coat", "tall", processed_tokens=[["red", "coat"], ["tall"]]),
    entry("CUHK01/2.png", 2, "train", "blue coat", "short"),
    entry("Market/3.jpg", 11_004, "val", "grey hat", "green hat", "no hat"),
    entry("test_query/4.jpg", 12_004, "test", "black bag", "a bag"),
    entry("test_query/5.jpg", 12_005, "test", "white shoes", "shoes"),
]


@pytest.fixture
def listed(tmp_path):
    """``listed(entries, name)`` writes the list ``name`` beside an empty folder imgs and returns their folder."""

    def write(entries, name="reid_raw.json"):
        (tmp_path / "imgs").mkdir(exist_ok=True)
        (tmp_path / name).write_text(entries if isinstance(entries, str) else json.dumps(entries), "utf-8")
        return tmp_path

    return write


def numbers(records):
    return [record.identity for record in records]


def test_cuhk_pedes(listed):
    root = listed(PEOPLE)
    dataset = open_dataset(root)
    assert (dataset.layout, dataset.task, dataset.protocol) == ("cuhk-pedes", "text", "cross-modality")
    assert (numbers(dataset.train), numbers(dataset.validation)) == ([1, 2], [11_004])
    assert numbers(dataset.query) == [12_004, 12_005]
    assert dataset.query is dataset.gallery
    assert dataset.train[0].path == root / "imgs" / "cam_a" / "1.jpg"
    assert dataset.train[0].captions == ("red coat", "tall")
    assert (dataset.train[0].camera, dataset.identity_names) == (None, {})
    assert dataset.sentence == (
        "CUHK-PEDES: 2 train identities (2 images, 4 captions), 1 validation identity (1 image, 3 captions), "
        "2 test identities (2 images, 4 captions); every caption is a query, every image counts (cross-modality)."
    )


@pytest.mark.parametrize("name", ["ICFG-PEDES.json", "ICFG_PEDES.json"])
def test_the_folders_of_icfg_pedes_are_not_its_splits(listed, name):
    people = [
        entry("test/0627/0627_010_05.jpg", 0, "train"),
        entry("train/0001/0001_000_01.jpg", 1, "test"),
        entry("test/0002/0002_000_01.jpg", 2, "test"),
        entry("train/0003/0003_000_01.jpg", 3, "train"),
    ]
    dataset = open_dataset(listed(people, name))
    assert dataset.layout == "icfg-pedes"
    assert [record.path.name for record in dataset.train] == ["0627_010_05.jpg", "0003_000_01.jpg"]
    assert [record.path.parts[-3] for record in dataset.query] == ["train", "test"]
    assert list(dataset.validation) == []


def test_identities_from_0_are_all_kept_and_keep_their_names(listed):
    people = [entry(f"{i}.jpg", i, "train" if i < 2 else "test") for i in range(4)]
    dataset = open_dataset(listed(people, "ICFG-PEDES.json"))
    assert (numbers(dataset.train), numbers(dataset.query)) == ([1, 2], [3, 4])  # 0 would be a distractor
    assert dataset.identity_names == {1: "0", 2: "1", 3: "2", 4: "3"}
    assert "left out" not in dataset.sentence


def test_rstpreid_calls_the_path_img_path(listed):
    splits = ("train", "train", "val", "test", "test")
    people = [entry(f"{i:04}_c14_0031.jpg", i, split, key="img_path") for i, split in enumerate(splits)]
    dataset = open_dataset(listed(people, "data_captions.json"))
    assert (dataset.layout, numbers(dataset.train), numbers(dataset.validation)) == ("rstpreid", [1, 2], [3])
    assert dataset.train[0].path.name == "0000_c14_0031.jpg"
    with pytest.raises(DataError, match="entry 1: img_path is missing; its keys are split, captions, file_path, id"):
        open_dataset(listed([entry("1.jpg", 1, "train")], "data_captions.json"))


def test_the_folder_above_and_the_name_of_the_layout_do_too(listed):
    root = listed(PEOPLE)
    (root / "data").mkdir()
    for name in ("reid_raw.json", "imgs"):
        (root / name).rename(root / "data" / name)
    assert open_dataset(root).sentence.endswith('Found in "data".')
    assert open_dataset(root / "data", layout="cuhkpedes").layout == "cuhk-pedes"
    with pytest.raises(DataError, match=r"has no file ICFG-PEDES\.json or ICFG_PEDES\.json, the list of ICFG-PEDES"):
        open_dataset(root / "data", layout="icfg-pedes")


def test_an_image_listed_twice_joins_its_captions(listed):
    again = entry("cam_a/1.jpg", 1, "train", "tall", "brown hair")
    dataset = open_dataset(listed([*PEOPLE, again]))
    assert dataset.train[0].captions == ("red coat", "tall", "brown hair")
    assert len(dataset.train) == 2
    assert "Entries of an image that is listed already, their captions added to it: 1." in dataset.sentence


def test_an_image_of_two_identities_is_a_record_of_each_and_told(listed):
    """Published lists have slips; better read with a warning than refused."""
    dataset = open_dataset(listed([*PEOPLE, entry("cam_a/1.jpg", 2, "train")]))
    assert sorted(record.identity for record in dataset.train if record.path.name == "1.jpg") == [1, 2]
    assert "Careful: images listed again under another id or in another split: 1." in dataset.sentence


def test_an_image_in_two_splits_is_told(listed):
    sentence = open_dataset(listed([*PEOPLE, entry("cam_a/1.jpg", 1, "test")])).sentence
    assert "Careful: images listed again under another id or in another split: 1." in sentence
    assert "Careful: 1 identity is in training and in the queries." in sentence


def test_the_same_words_twice_in_one_entry_are_two_queries(listed):
    dataset = open_dataset(listed([*PEOPLE, entry("6.jpg", 12_006, "test", "a man", "a man")]))
    assert dataset.query[-1].captions == ("a man", "a man")


def test_a_blank_caption_beside_a_good_one_is_left_out_and_told(listed):
    dataset = open_dataset(listed([*PEOPLE, entry("6.jpg", 12_006, "test", " ", " a man\n")]))
    assert dataset.query[-1].captions == ("a man",)
    assert "Blank captions are left out: 1." in dataset.sentence


def changed(**values):
    return {**entry("9.jpg", 9, "train"), **values}


def without(key):
    return {name: value for name, value in entry("9.jpg", 9, "train").items() if name != key}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (without("id"), "id is missing; its keys are split, captions, file_path"),
        (without("file_path"), "file_path is missing"),
        (without("split"), "split is missing"),
        (without("captions"), "captions is missing"),
        (["9.jpg", 9], "a list, not an object"),
        (changed(file_path=""), 'file_path is "", not the path'),
        (changed(file_path=9), "file_path is 9, not the path"),
        (changed(id=-1), "id is -1, not a whole number from 0"),
        (changed(id="9"), 'id is "9", not a whole number'),
        (changed(id=True), "id is true, not a whole number"),
        (changed(split="training"), 'split is "training", not one of train, val, test'),
        (changed(split=["train"]), r'split is \["train"\], not one of'),
        (changed(captions=[]), r"captions is \[\], not a list of captions"),
        (changed(captions="a man"), 'captions is "a man", not a list'),
        (changed(captions=["a man", 3]), "a caption is 3, not text"),
        (changed(captions=["\ud800"]), "a caption is .*, not text"),
        (changed(captions=["", "  "]), "its captions are blank"),
    ],
)
def test_a_bad_entry_is_named_by_its_file_and_number(listed, bad, reason):
    with pytest.raises(DataError, match=rf'reid_raw\.json", entry 6: {reason}') as error:
        open_dataset(listed([*PEOPLE, bad]))
    assert error.value.exit_code == 4
    assert error.value.hint.startswith("Entries count from 1.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[{]", "is not JSON"),
        ("\udcff".encode("utf-8", "surrogatepass").decode("latin-1"), "is not JSON"),
        ("{}", "holds an object, not a list"),
        ("[]", "holds an empty list"),
        ("3", "holds a number, not a list"),
    ],
)
def test_a_file_that_is_no_list_is_refused(listed, text, reason):
    with pytest.raises(DataError, match=rf'reid_raw\.json" {reason}'):
        open_dataset(listed(text))


def test_the_folder_of_images_must_be_there(listed):
    root = listed(PEOPLE)
    (root / "imgs").rmdir()
    with pytest.raises(DataError, match=r"has no folder imgs, in which reid_raw\.json looks") as error:
        open_dataset(root)
    assert "link" in error.value.hint


def test_a_list_without_test_entries_can_be_trained_on(listed):
    dataset = open_dataset(listed(PEOPLE[:3]))
    require_split(dataset, "train")
    assert "no test split" in dataset.sentence
    with pytest.raises(DataError, match="no test split"):
        require_split(dataset, "test")


def test_the_validation_split_counts_in_the_manifest(listed):
    manifest = open_dataset(listed(PEOPLE)).manifest()
    assert manifest["val"] == {"images": 1, "identities": 1, "cameras": 0}
    moved = [dict(person, split="val" if person["id"] == 2 else person["split"]) for person in PEOPLE]
    assert open_dataset(listed(moved)).manifest()["hash"] != manifest["hash"]
    other = [dict(person, captions=["other"]) if person["split"] == "val" else person for person in PEOPLE]
    assert open_dataset(listed(other)).manifest()["hash"] != manifest["hash"]
    none = open_dataset(listed([person for person in PEOPLE if person["split"] != "val"])).manifest()
    assert "val" not in none


def test_eighty_thousand_captions_are_listed_without_a_look_at_the_images(listed):
    people = [
        entry(f"cam_a/{i:05}.jpg", i // 4 + 1, "train" if i < 34_000 else "test", f"one {i}", f"two {i}")
        for i in range(40_000)
    ]
    root = listed(people)
    start = time.process_time()
    dataset = open_dataset(root)  # none of the files is there
    assert time.process_time() - start < 2
    assert (len(dataset.train), len(dataset.query)) == (34_000, 6_000)
