from __future__ import annotations

import pytest

from reidtune.data import open_dataset
from reidtune.errors import DataError, SettingsError

FULL = """path,identity,camera,scene,split,caption
train/1.jpg,ann,left,3,train,
train/2.jpg,bob,right,3,train,
q/1.jpg,cat,left,1,query,"a cat, black"
g/1.jpg,cat,right,2,gallery,
g/2.jpg,-1,right,2,gallery,
"""


def test_csv_rows_become_records(table, tmp_path):
    dataset = open_dataset(table(FULL))
    assert (dataset.layout, dataset.protocol, dataset.root) == ("table", "cross-camera", tmp_path)
    assert dataset.identity_names == {1: "ann", 2: "bob", 3: "cat"}
    assert [(r.identity, r.camera, r.scene) for r in dataset.train] == [(1, 0, 3), (2, 1, 3)]
    assert dataset.query[0].captions == ("a cat, black",)
    assert dataset.query[0].path == tmp_path / "q" / "1.jpg"
    assert [r.identity for r in dataset.gallery] == [3, -1]
    assert dataset.sentence.startswith('Table "table.csv": 2 train identities (2 images), 1 query, 1 gallery image')


def test_jsonl_says_the_same_as_csv(table):
    rows = [dict(zip(FULL.split("\n")[0].split(","), ["a.jpg", "ann", "left", 3, "train", None], strict=True))]
    rows += [
        {"path": "b.jpg", "identity": "bob", "camera": "right", "split": "train", "box": [1, 2]},
        {"path": "c.jpg", "identity": "cat", "camera": "left", "split": "test", "caption": ["one", "two"]},
        {"path": "d.jpg", "identity": "cat", "camera": "right", "split": "test"},
    ]
    dataset = open_dataset(table(rows, "rows.jsonl"))
    assert [(r.identity, r.camera, r.scene) for r in dataset.train] == [(1, 0, 3), (2, 1, None)]
    assert dataset.query[0].captions == ("one", "two")
    assert "Columns that are not read: box." in dataset.sentence


def test_numbers_stay_numbers(table):
    rows = [{"path": f"{i}.jpg", "identity": float(i), "camera": i % 3 + 4, "split": "test"} for i in (5, 12, 7)]
    dataset = open_dataset(table(rows, "rows.jsonl"))
    assert [(r.identity, r.camera) for r in dataset.query] == [(5, 6), (12, 4), (7, 5)]
    assert dataset.identity_names[12] == "12"


def test_an_identity_called_0_is_an_identity(table):
    dataset = open_dataset(table("path,identity,split\n1.jpg,0,train\n2.jpg,1,train\n3.jpg,10,train\n4.jpg,2,train\n"))
    assert [r.identity for r in dataset.train] == [1, 2, 4, 3]
    assert dataset.identity_names == {1: "0", 2: "1", 3: "2", 4: "10"}


def test_without_a_split_column_half_trains(table):
    text = "path,identity\n" + "".join(f"{name}{i}.jpg,{name}\n" for name in "abcd" for i in range(2))
    dataset = open_dataset(table(text))
    assert (len(dataset.train), len(dataset.query), dataset.protocol) == (4, 4, "leave-one-out")


def test_repeated_images_collect_their_captions(table):
    text = "path,identity,split,caption\n1.jpg,a,test,red\n1.jpg,a,test,tall\n2.jpg,b,test,blue\n"
    dataset = open_dataset(table(text))
    assert [r.captions for r in dataset.gallery] == [("red", "tall"), ("blue",)]


def test_the_same_image_as_query_and_gallery_is_allowed_and_told(table):
    text = "path,identity,split\n1.jpg,a,query\n1.jpg,a,gallery\n2.jpg,b,gallery\n"
    assert "queries that are in the gallery too, and find themselves: 1." in open_dataset(table(text)).sentence


def test_junk_without_cameras_does_not_let_queries_find_themselves(table):
    dataset = open_dataset(table("path,identity,split\n1.jpg,a,test\n2.jpg,a,test\n3.jpg,b,test\n4.jpg,-1,test\n"))
    assert dataset.query is dataset.gallery
    assert (len(dataset.query), dataset.protocol) == (3, "leave-one-out")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_a_byte_order_mark(table, delimiter):
    text = "\ufeffPath;Identity;Caption\n1.jpg;a;red, tall\n2.jpg;b;x\n".replace(";", delimiter)
    assert [r.captions for r in open_dataset(table(text)).gallery] == [("red, tall",), ("x",)]


def test_a_missing_column_names_the_columns_found(table):
    with pytest.raises(DataError, match="no column identity; its columns are: path, person, camera"):
        open_dataset(table("path,person,camera\n1.jpg,a,1\n"))
    with pytest.raises(DataError, match="no column path and no column identity; its columns are: none"):
        open_dataset(table(""))


HEAD = "path,identity,camera,split\n1.jpg,a,1,query\n"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2.jpg,b,1", "line 3: 3 cells, but 4 columns"),
        ("2.jpg,,1,gallery", "line 3: identity is empty"),
        (",b,1,gallery", "line 3: path is empty"),
        ("2.jpg,b,1,galery", 'line 3: split is "galery".*Did you mean "gallery"'),
        ("2.jpg,b,1,", "line 3: split is empty, but line 2 has one"),
        ("2.jpg,b,,gallery", "line 3: camera is empty, but line 2 has one"),
        ("1.jpg,a,1,query", r'line 3: "1\.jpg" is already in line 2'),
        ("1.jpg,b,1,gallery", r'line 3: identity of "1\.jpg" is "b", but "a" in line 2'),
        ('2.jpg,"b"x,1,gallery', "line 3: not CSV"),
    ],
)
def test_a_bad_row_is_named_by_its_line(table, row, reason):
    with pytest.raises(DataError, match=reason) as error:
        open_dataset(table(HEAD + row + "\n3.jpg,c,2,gallery\n"))
    assert error.value.exit_code == 4


def test_lines_are_counted_through_quoted_line_breaks(table):
    text = 'path,identity,caption\n1.jpg,a,"two\nlines"\n\n2.jpg,,x\n'
    with pytest.raises(DataError, match="line 5: identity is empty"):
        open_dataset(table(text))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"path": "2.jpg"', "line 2: not JSON"),
        ('["2.jpg", "b"]', "line 2: not a JSON object"),
        ('{"path": "2.jpg", "identity": true}', "line 2: identity is true"),
        ('{"path": "2.jpg", "identity": {"a": 1}}', "line 2: identity is"),
        ('{"path": ["2.jpg"], "identity": "b"}', "line 2: path is"),
        ('{"path": "2.jpg"}', "line 2: identity is empty"),
    ],
)
def test_a_bad_json_line_is_named(table, line, reason):
    with pytest.raises(DataError, match=reason):
        open_dataset(table('{"path": "1.jpg", "identity": "a"}\n' + line + "\n", "rows.jsonl"))


def test_text_that_is_not_utf_8_is_named_by_its_line(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"path,identity\n1.jpg,J\xe9r\xf4me\n")
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        open_dataset(tmp_path / "t.csv")


CAPTIONED = """path,identity,camera,split,caption
1.jpg,a,1,train,red
1.jpg,a,1,train,tall
2.jpg,b,2,train,blue
3.jpg,c,1,val,green
4.jpg,d,1,test,black
4.jpg,d,1,test,short
5.jpg,e,2,test,white
"""


def test_half_of_the_identities_train_where_one_image_each_has_captions(table):
    text = "path,identity,camera,caption\n" + "".join(f"{i}.jpg,p{i},{i % 2},a person\n" for i in range(8))
    dataset = open_dataset(table(text))
    assert (dataset.task, len(dataset.train), len(dataset.query)) == ("text", 4, 4)
    assert not {r.identity for r in dataset.train} & {r.identity for r in dataset.query}


def test_a_protocol_that_does_not_fit_the_captions_is_refused(table):
    with pytest.raises(SettingsError, match="cross-camera"):
        open_dataset(table(CAPTIONED), protocol="cross-camera")
    with pytest.raises(SettingsError, match="cross-modality"):
        open_dataset(table("path,identity\n1.jpg,a\n2.jpg,b\n"), protocol="cross-modality")


def test_a_table_with_captions_is_search_by_text(table):
    dataset = open_dataset(table(CAPTIONED))
    assert (dataset.task, dataset.protocol) == ("text", "cross-modality")
    assert dataset.query is dataset.gallery
    assert [r.captions for r in dataset.train] == [("red", "tall"), ("blue",)]
    assert [r.captions for r in dataset.validation] == [("green",)]
    assert [r.captions for r in dataset.query] == [("black", "short"), ("white",)]
    assert dataset.sentence == (
        'Table "table.csv": 2 train identities (2 images, 3 captions), 1 validation identity (1 image, 1 caption), '
        "2 test identities (2 images, 3 captions); every caption is a query, every image counts (cross-modality)."
    )


def test_a_list_of_captions_says_the_same(table):
    dataset = open_dataset(table(CAPTIONED))
    rows = [
        {"path": r.path.name, "identity": dataset.identity_names[r.identity], "camera": r.camera, "split": split}
        | {"caption": list(r.captions)}
        for split, records in (("train", dataset.train), ("val", dataset.validation), ("test", dataset.query))
        for r in records
    ]
    assert open_dataset(table(rows, "rows.jsonl")).manifest() == dataset.manifest()


def test_captions_of_some_images_are_not_used_and_that_is_told(table):
    dataset = open_dataset(table(CAPTIONED.replace("white", "")))
    assert (dataset.task, dataset.protocol, list(dataset.validation)) == ("image", "cross-camera", [])
    assert "Captions are not used: only 4 of 5 images have one" in dataset.sentence
    assert 'Not used: "val" (1 image)' in dataset.sentence


def test_the_protocol_can_ask_for_search_by_the_captions_there_are(table):
    dataset = open_dataset(table(CAPTIONED.replace("white", "")), protocol="cross-modality")
    assert (dataset.task, len(dataset.gallery)) == ("text", 2)
    assert "Images without a caption, not learned from and no queries: 1 in test." in dataset.sentence
    with pytest.raises(SettingsError, match="needs captions"):
        open_dataset(table(FULL.replace("a cat, black", "")), protocol="cross-modality")


def test_a_gallery_that_is_only_looked_through_needs_no_captions(table):
    text = "path,identity,split,caption\n1.jpg,a,query,red\n1.jpg,a,gallery,\n2.jpg,b,gallery,\n3.jpg,-1,gallery,\n"
    dataset = open_dataset(table(text))
    assert (dataset.task, len(dataset.query), len(dataset.gallery)) == ("text", 1, 3)
    assert "1 caption of 1 identity as queries, 2 gallery images;" in dataset.sentence


def test_only_a_validation_split_is_the_test_split(table):
    head = "path,identity,split,caption\n1.jpg,a,train,x\n2.jpg,b,train,x\n"
    dataset = open_dataset(table(head + "3.jpg,c,val,x\n4.jpg,d,val,x\n"))
    assert (dataset.task, len(dataset.query), list(dataset.validation)) == ("text", 2, [])


def test_a_table_without_captions_is_as_before(table):
    dataset = open_dataset(table(FULL.replace("a cat, black", "")))
    assert (dataset.task, list(dataset.validation)) == ("image", [])
    assert "aption" not in dataset.sentence
    assert list(dataset.manifest()) == ["layout", "task", "hash", "train", "query", "gallery"]
