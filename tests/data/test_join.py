from __future__ import annotations

import shutil

import pytest

from reidtune.data import cameras, identities
from reidtune.data.join import join, open_datasets
from reidtune.data.layouts import assemble
from reidtune.data.record import ImageFile, Record
from reidtune.errors import DataError, SettingsError


def table(path, head="path,identity,camera,split", people=4):
    rows = [f"{path.stem}/{p}{k}.png,{p},{k % 2},train" for p in "abcdefgh"[:people] for k in range(4)]
    path.write_text("\n".join([head, *rows]) + "\n", "utf-8")
    return path


def test_people_and_cameras_of_one_are_none_of_another(market):
    a, b = market("a"), market("b", people=5, cams=3)
    joined = open_datasets([a, b])
    first, second = (len(open_datasets([one]).train) for one in (a, b))
    assert len(joined.train) == first + second
    ours, theirs = joined.train[:first], joined.train[first:]
    assert (identities(ours), identities(theirs)) == ({1, 2, 3, 4}, {5, 6, 7, 8, 9})
    assert (cameras(ours), cameras(theirs)) == ({0, 1}, {2, 3, 4})
    assert (joined.identity_names[1], joined.identity_names[5]) == ("1/1", "2/1")
    assert (joined.layout, joined.protocol, joined.task) == ("joined", "cross-camera", "image")
    assert not joined.query
    assert not joined.gallery
    assert joined.sentence.startswith("2 datasets joined for training: 9 identities, 46 images, 5 cameras;")


def test_one_dataset_is_itself(market):
    alone = open_datasets([market("a")])
    assert (alone.layout, alone.parts) == ("market1501", ())


def test_junk_stays_out_and_the_gap_in_the_numbers_closes(tmp_path):
    def dataset(numbers):
        records = [Record((ImageFile(tmp_path / f"{n}.png"),), n, camera=7) for n in numbers for _ in (1, 2)]
        return assemble(tmp_path, "x", "X", records, [], [])

    joined = join([dataset([-1, 3, 900]), dataset([0, 5, 6])])
    assert [record.identity for record in joined.train] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert joined.identity_names[2] == "1/900"


@pytest.mark.parametrize(
    ("cams", "protocol"), [((2, 3), "cross-camera"), ((2, 1), "leave-one-out"), ((1, 1), "leave-one-out")]
)
def test_the_protocol_is_one_that_all_can_be_scored_by(market, cams, protocol):
    joined = open_datasets([market("a", cams=cams[0]), market("b", cams=cams[1])])
    assert joined.protocol == protocol


def test_a_dataset_without_cameras_decides_for_all(market, put):
    folder = put("f/train/x/1.png", "f/train/x/2.png", "f/train/y/1.png", "f/test/z/1.png", "f/test/z/2.png") / "f"
    joined = open_datasets([market("a"), folder])
    assert joined.protocol == "leave-one-out"
    assert joined.train[-1].camera is None
    assert "2 cameras, of 1 of the datasets unknown" in joined.sentence
    with pytest.raises(SettingsError, match="needs the camera of every test image"):
        open_datasets([market("a"), folder], protocol="cross-camera")


def test_the_hash_is_of_the_datasets_in_order_and_not_of_where_they_lie(market, tmp_path):
    a, b = market("a"), market("b", people=5)
    manifest = open_datasets([a, b]).manifest()
    moved = shutil.copytree(a, tmp_path / "elsewhere" / "copy")
    assert open_datasets([moved, b]).manifest() == manifest
    assert open_datasets([b, a]).manifest()["hash"] != manifest["hash"]
    assert [part["train"]["identities"] for part in manifest["datasets"]] == [4, 5]
    assert manifest["train"] == {"images": 36, "identities": 9, "cameras": 4}
    next((b / "query").iterdir()).unlink()
    assert open_datasets([a, b]).manifest()["hash"] != manifest["hash"]


def test_tasks_and_modalities_must_agree(market, tmp_path):
    words = tmp_path / "words.csv"
    words.write_text("path,identity,split,caption\na,1,train,x\nb,2,train,y\n", "utf-8")
    with pytest.raises(SettingsError) as error:
        open_datasets([market("a"), words])
    assert 'a": image data' in error.value.message
    assert ": text data" in error.value.message
    two, three = tmp_path / "2.csv", tmp_path / "3.csv"
    two.write_text("path_rgb,path_nir,identity,split\na,b,1,train\nc,d,2,train\n", "utf-8")
    three.write_text("path_rgb,path_nir,path_tir,identity,split\na,b,e,1,train\nc,d,f,2,train\n", "utf-8")
    with pytest.raises(SettingsError, match="do not agree in their modalities") as error:
        open_datasets([two, three])
    assert ": nir, rgb\n" in error.value.message
    assert ": nir, rgb, tir" in error.value.message


def test_the_same_data_twice_is_refused(market, tmp_path):
    a = market("a")
    (tmp_path / "link").symlink_to(a)
    with pytest.raises(SettingsError, match="are the same data"):
        open_datasets([a, tmp_path / "link"])


def test_a_dataset_that_cannot_be_trained_on_is_named(market, put):
    flat = put(*[f"flat/000{p}_c{c}_1.png" for p in (1, 2) for c in (1, 2)]) / "flat"
    with pytest.raises(DataError, match="flat. has no training split"):
        open_datasets([market("a"), flat])


def test_layouts_are_named_for_all_or_one_by_one(market, put):
    a, folder = market("a"), put("f/x/1.png", "f/x/2.png", "f/y/1.png", "f/y/2.png", "f/z/1.png", "f/w/1.png") / "f"
    joined = open_datasets([a, folder], layout="market1501,auto", protocol=None)
    assert [part["layout"] for part in joined.manifest()["datasets"]] == ["market1501", "folder"]
    with pytest.raises(DataError):
        open_datasets([a, folder], layout="market1501")
    with pytest.raises(SettingsError, match="names 3 layouts, but there are 2 datasets"):
        open_datasets([a, folder], layout="auto,auto,auto")


def test_columns_are_for_the_tables_that_have_them(market, tmp_path):
    named = table(tmp_path / "named.csv", "file,name,cam,split")
    own = table(tmp_path / "own.csv", "path,identity,place,split")
    columns = {"path": "file", "identity": "name", "camera": "cam"}
    joined = open_datasets([market("a"), named, own], columns=columns)
    assert [part["train"]["cameras"] for part in joined.manifest()["datasets"]] == [2, 2, 0]
    assert joined.identity_names[9] == "3/a"
    with pytest.raises(SettingsError, match="nam: there is no such column"):
        open_datasets([named, own], columns={**columns, "identity": "nam"})
    neither = table(tmp_path / "neither.csv", "file,who,cam,split")
    with pytest.raises(SettingsError, match=r"neither\.csv.*\n.*identity=name: there is no such column"):
        open_datasets([named, neither], columns=columns)
    with pytest.raises(SettingsError, match="None of the datasets is a table"):
        open_datasets([market("a"), market("b")], columns=columns)


def test_a_folder_and_the_one_inside_it_are_the_same_data(market):
    """What was typed differs, what was opened does not: each person would be two."""
    inner = market("parent/market")
    with pytest.raises(DataError, match=r"png. is in two of the datasets, 1 \(.*market.\) and 2 \(.*market.\)"):
        open_datasets([inner.parent, inner])


def test_a_table_of_anothers_files_and_of_links_to_them_is_refused(market, tmp_path):
    a = market("a")
    files = sorted((a / "bounding_box_train").iterdir())[:12]
    rows = "path,identity,split\n" + "".join(f"{file},{file.name[:4]},train\n" for file in files)
    (tmp_path / "t.csv").write_text(rows, "utf-8")
    with pytest.raises(DataError, match="is in two of the datasets"):
        open_datasets([a, tmp_path / "t.csv"])
    (tmp_path / "linked").mkdir()
    for file in files:
        (tmp_path / "linked" / file.name).symlink_to(file)
    (tmp_path / "u.csv").write_text(rows.replace(str(files[0].parent), "linked"), "utf-8")
    with pytest.raises(DataError, match="is in two of the datasets"):
        open_datasets([a, tmp_path / "u.csv"])


def test_crops_of_one_file_are_several_images(tmp_path):
    def dataset(left):
        crop = (left, 0, left + 5, 9)
        records = [Record((ImageFile(tmp_path / f"{n}.png", crop),), n, camera=7) for n in (1, 2) for _ in (1, 2)]
        return assemble(tmp_path, "x", "X", records, [], [])

    assert len(join([dataset(0), dataset(5)]).train) == 8
    with pytest.raises(DataError, match="is in two of the datasets"):
        join([dataset(0), dataset(0)])


def test_the_two_halves_of_cuhk03_np_are_warned_of(market):
    both = [market(f"cuhk03/{kind}") for kind in ("labeled", "detected")]
    assert "are the same people cropped twice" in open_datasets(both).sentence
    other = market("elsewhere/labeled")
    assert "cropped twice" not in open_datasets([both[1], other]).sentence


def test_who_decides_the_protocol_for_all_is_said(market):
    a, b, c = market("a"), market("b", cams=1), market("c", cams=1)
    assert "Dataset 2 does not know the camera of all training images" in open_datasets([a, b]).sentence
    assert "Datasets 1, 3 do not know" in open_datasets([b, a, c]).sentence
    assert "not know" not in open_datasets([b, c]).sentence
    assert "not know" not in open_datasets([a, market("d")]).sentence


def test_columns_and_a_folder_that_is_no_table(market, tmp_path):
    named = table(tmp_path / "named.csv", "file,name,cam,split")
    with pytest.raises(DataError, match="is a folder, not a table"):
        open_datasets([named, market("a")], layout="table", columns={"path": "file", "identity": "name"})


def test_a_table_that_cannot_be_opened_is_named(market, tmp_path, monkeypatch):
    from reidtune.data import join as module

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "open_rows", refuse)
    named = table(tmp_path / "named.csv", "file,name,cam,split")
    with pytest.raises(DataError, match=r"named\.csv. cannot be read: Permission denied"):
        open_datasets([named, market("a")], columns={"path": "file", "identity": "name"})
