"""Labels of features: columns by many names, splits, and the line that is wrong."""

import pytest

from reidtune.data.labels import read_labels
from reidtune.errors import DataError


@pytest.fixture
def labels(tmp_path):
    def read(text, name="labels.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_labels(tmp_path / name)

    return read


@pytest.mark.parametrize(
    ("head", "identity", "camera"),
    [
        ("identity,camera", "anna", "north"),
        ("pid,camid", "anna", "north"),
        ("id,cam", "anna", "north"),
        ("Id;Cam;extra", "anna", "north"),
        ("id,pid,identity", "north", ""),  # the first that is there: identity
    ],
)
def test_columns_by_many_names(labels, head, identity, camera):
    mark = ";" if ";" in head else ","
    row = mark.join(["anna", "north", "x"][: head.count(mark) + 1])
    if head.startswith("id,pid"):
        row = "anna,bert,north"
    found = labels(f"{head}\n{row}\n")
    assert (found.identity, found.camera, found.scene, found.split) == ([identity], [camera], [""], [""])
    assert list(found.names) == ["row 0"]


def test_json_lines_and_whole_numbers_of_data_frames(labels):
    found = labels('{"pid": 3, "cam": 1.0, "path": "x/ü.jpg"}\n{"pid": "3.0", "path": "b.jpg"}\n', "labels.jsonl")
    assert (found.identity, found.camera, list(found.names)) == (["3", "3"], ["1", ""], ["ü.jpg", "b.jpg"])
    assert labels("pid,cam\n-1.0,2.50\n").identity == ["-1"]
    assert labels("pid,cam\n-1.0,2.50\n").camera == ["2.50"]


def test_columns_of_modalities(labels):
    found = labels("path_rgb,path_nir,identity\n,b/x.jpg,1\n")
    assert (found.modalities, list(found.names)) == (("rgb", "nir"), ["x.jpg"])
    assert labels("path,identity\nx.jpg,1\n").modalities == ()


@pytest.mark.parametrize(
    ("splits", "query", "gallery"),
    [
        ("train gallery query query gallery", [2, 3], [1, 4]),
        ("query test train", [0], [1]),
        ("query gallery test", [0], [1]),
        ("train TEST test", [1, 2], [1, 2]),
        ("gallery test gallery train", [1], [0, 1, 2]),
    ],
)
def test_sides(labels, splits, query, gallery):
    rows = "".join(f"{row},{split}\n" for row, split in enumerate(splits.split()))
    sides = labels(f"id,split\n{rows}").sides()
    assert sides == (query, gallery)
    assert (sides[0] is sides[1]) == (query == gallery)


def test_without_a_split_one_set_is_both(labels):
    one, other = labels("id\n1\n2\n").sides()
    assert list(one) == [0, 1] and one is other


@pytest.mark.parametrize("splits", ["train train", "query train", "gallery val"])
def test_a_side_that_is_missing(labels, splits):
    rows = "".join(f"1,{split}\n" for split in splits.split())
    with pytest.raises(DataError, match="no query and gallery, and no test: its rows are 1 of|2 of train"):
        labels(f"id,split\n{rows}").sides()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,camera\na,1\n", "no column identity or pid or id; its columns are: path, camera"),
        ("", "its columns are: none"),
        ("identity\n", "has no rows"),
        ("identity,camera\n1,2\n,2\n", "line 3: identity is empty"),
        ("pid,split\n1,qeury\n", 'line 2: split is "qeury".*Did you mean "query"'),
        ("pid,split\n1,query\n2,\n", "line 3: split is empty, but line 2 has one"),
        ("pid,camera\n1\n", "line 2: 1 cells, but 2 columns"),
    ],
)
def test_what_is_wrong_is_named(labels, text, sentence):
    with pytest.raises(DataError, match=sentence):
        labels(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_labels(tmp_path / "labels.csv")
