from __future__ import annotations

import json

import pytest

from reidtune.data import open_dataset
from reidtune.data.labels import read_labels
from reidtune.data.layouts.columns import divided, options_of, parse_columns
from reidtune.errors import DataError, SettingsError

NAMED = {"path": "file", "identity": "name", "camera": "cam"}
CSV = "File,Name,cam,identity,split\n" + "".join(
    f"{n}.jpg,{'ann' if n < 2 else 'bob'},{n % 2 + 1},x,test\n" for n in range(4)
)


@pytest.fixture
def table(tmp_path):
    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return write


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_options_become_a_mapping_and_back():
    mapping = parse_columns(["path=file", " Identity = Name ", "path_nir=a=b"])
    assert mapping == {"path": "file", "identity": "Name", "path_nir": "a=b"}
    assert parse_columns(item for item in options_of(mapping) if item != "--column") == mapping


def test_all_wrong_options_are_told_at_once():
    with pytest.raises(SettingsError) as error:
        parse_columns(["path", "identity=", "=x", "camera=a", "camera=b"])
    told = error.value.message.splitlines()
    assert [line.split(":")[0] for line in told] == [
        "--column path",
        "--column identity=",
        "--column =x",
        "--column camera=b",
    ]
    assert "camera is a already" in told[-1]
    assert "--column identity=name" in error.value.hint


def test_columns_are_what_the_user_says(table):
    dataset = open_dataset(table(CSV), columns=NAMED)
    assert [(r.path.name, r.identity, r.camera) for r in dataset.query] == [
        ("0.jpg", 1, 1),
        ("1.jpg", 1, 2),
        ("2.jpg", 2, 1),
        ("3.jpg", 2, 2),
    ]
    assert dataset.identity_names == {1: "ann", 2: "bob"}
    assert "not read: identity (another column is identity)." in dataset.sentence  # its own column of that name is not


def test_a_table_says_the_same_under_its_own_names_and_under_ours(table):
    plain = "path,identity,camera,split\n" + "".join(
        ",".join(cells[:3] + cells[4:]) + "\n" for line in CSV.splitlines()[1:] if (cells := line.split(","))
    )
    first, second = open_dataset(table(CSV), columns=NAMED), open_dataset(table(plain, "u.csv"))
    assert first.query == second.query
    assert first.manifest() == second.manifest()


def test_json_lines_captions_and_modalities(table):
    rows = [{"vis": f"{n}a.jpg", "ir": f"{n}b.jpg", "who": n // 2, "split": "test"} for n in range(4)]
    columns = {"path_rgb": "vis", "path_tir": "ir", "identity": "who"}
    dataset = open_dataset(table(lines(*rows), "t.jsonl"), columns=columns)
    assert (dataset.task, dataset.modalities) == ("multimodal", ("rgb", "tir"))
    assert [image.path.name for image in dataset.query[0].images] == ["0a.jpg", "0b.jpg"]
    rows = [{"path": f"{n}.jpg", "identity": n, "words": ["one", "two"], "split": "test"} for n in (1, 2)]
    dataset = open_dataset(table(lines(*rows), "u.jsonl"), columns={"caption": "words"})
    assert (dataset.task, dataset.query[0].captions) == ("text", ("one", "two"))


def test_one_column_may_be_several_things(table):
    text = "path,identity,day,split\na,1,x,test\nb,1,y,test\nc,2,x,test\n"
    dataset = open_dataset(table(text), columns={"camera": "day", "scene": "day"})
    assert [(r.camera, r.scene) for r in dataset.query] == [(0, 0), (1, 1), (0, 0)]


def test_all_that_does_not_fit_is_told_at_once(table):
    with pytest.raises(SettingsError) as error:
        open_dataset(table(CSV), columns={"path": "fil", "idntity": "name", "cam": "camera", "path_": "cam"})
    told = error.value.message.splitlines()[1:]
    assert told[0].strip() == 'path=fil: there is no such column. Did you mean "file"?'
    assert told[1].strip() == 'idntity=name: nothing is called "idntity". Did you mean "identity"?'
    assert told[2].strip() == "cam=camera: the other way round: --column camera=cam"
    assert told[3].strip().startswith('path_=cam: nothing is called "path_". Did you mean "path"?')
    assert len(told) == 4
    assert error.value.hint == "The columns of the table: file, name, cam, identity, split."
    assert error.value.exit_code == 2


def test_a_missing_column_names_the_likely_one(table):
    with pytest.raises(DataError) as error:
        open_dataset(table("filename,Individual,x\na,b,c\n"))
    assert "--column path=filename --column identity=individual." in error.value.hint
    with pytest.raises(DataError, match="no column identity") as error:
        open_dataset(table("p,x\na,b\n"), columns={"path": "p"})
    assert "--column identity=COLUMN" in error.value.hint


def test_only_a_table_has_columns(put):
    with pytest.raises(SettingsError, match="is no table"):
        open_dataset(put("a/1.png", "b/1.png"), columns=NAMED)


def test_labels_of_features_too(table):
    labels = read_labels(table("who,where\nann,1\nbob,2\n"), {"identity": "who", "camera": "where"})
    assert (labels.identity, labels.camera) == (["ann", "bob"], ["1", "2"])
    with pytest.raises(SettingsError, match='whoo: there is no such column. Did you mean "who"'):
        read_labels(table("who,where\nann,1\n"), {"identity": "whoo"})


def test_a_missing_column_is_told_with_the_tables_own_names(table):
    with pytest.raises(DataError, match="no column identity; its columns are: file, name, cam") as caught:
        open_dataset(table("File,Name,cam\n1.jpg,a,1\n"), columns={"path": "file"})
    assert "--column identity=name" in caught.value.hint


def test_each_of_several_tables_gets_what_it_has():
    tables = {0: ["file", "name"], 2: ["path", "name"], 3: None}
    columns = {"path": "File", "identity": "name"}
    assert divided(columns, tables, 4) == [columns, {}, {"identity": "name"}, columns]
    assert divided({"identity": "nam"}, tables, 3) == [{"identity": "nam"}, {}, {"identity": "nam"}]
    assert divided({}, {}, 2) == [{}, {}]
