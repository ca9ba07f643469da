from __future__ import annotations

import pytest

from reidtune.data import open_dataset
from reidtune.errors import DataError

HEADER = "image_id,identity,path,date,orientation,species,split"
ROWS = (
    "1,t01,images/1.png,2024-05-01 10:00:00,left,green turtle,train",
    "2,t02,images/2.png,2024-05-01 11:00:00,right,green turtle,train",
    "3,t03,images/3.png,2024-05-02 10:00:00,left,green turtle,test",
    "4,t03,images/4.png,2024-05-03 10:00:00,left,green turtle,test",
    "5,t04,images/5.png,2024-05-03 10:30:00,left,green turtle,test",
)


@pytest.fixture
def table(put, tmp_path):
    """``table(rows, header, name)`` writes a table and an image for each of its rows, and returns their folder."""

    def write(*rows, header=HEADER, name="metadata.csv"):
        place = header.split(",").index("path")
        put(*[row.split(",")[place] for row in rows if row.split(",")[place]])
        (tmp_path / name).write_text("\n".join([header, *rows]) + "\n")
        return tmp_path

    return write


def test_each_test_image_is_a_query_against_all_others(table):
    dataset = open_dataset(table(*ROWS))
    assert (dataset.layout, dataset.protocol) == ("wildlife", "leave-one-out")
    assert dataset.query is dataset.gallery
    assert dataset.identity_names == {1: "t01", 2: "t02", 3: "t03", 4: "t04"}
    assert [record.path.name for record in dataset.query] == ["3.png", "4.png", "5.png"]
    assert dataset.sentence == (
        'Wildlife table "metadata.csv": 2 train identities (2 images), 3 test images of 2 identities, cameras unknown; '
        "each test image is a query against all others (leave-one-out). The days of the column date are scenes; "
        "--protocol cross-scene leaves out the query's own day. Columns that are not read: image_id, orientation, "
        "species."
    )


@pytest.mark.parametrize("unknown", ["unknown", "Unknown", "", "nan"])
def test_an_unknown_animal_is_nobody(table, unknown):
    """As one identity, strangers would be each other's matches."""
    dataset = open_dataset(table(*ROWS, f"6,{unknown},images/6.png,2024-05-03,left,green turtle,test"))
    assert len(dataset.query) == 3
    assert "Images of unknown individuals left out: 1." in dataset.sentence


def test_the_day_is_the_scene(table):
    root = table(*ROWS)
    dataset = open_dataset(root, protocol="cross-scene")
    assert dataset.protocol == "cross-scene"
    assert [record.scene for record in dataset.query] == [1, 2, 2]
    assert "cameras unknown, 3 scenes; same-identity same-scene pairs" in dataset.sentence
    assert "The days of the column date are scenes." in dataset.sentence
    assert dataset.scene_names == {0: "2024-05-01", 1: "2024-05-02", 2: "2024-05-03"}
    undated = open_dataset(table(*ROWS[:4], "5,t04,images/5.png,,left,green turtle,test"))
    assert {record.scene for record in undated.query} == {None}
    assert "days" not in undated.sentence


def dated(table, *dates):
    rows = [f"{i},t{i % 3},{i}.png,{date},test" for i, date in enumerate(dates)]
    dataset = open_dataset(table(*rows, header="image_id,identity,path,date,split"))
    return [record.scene for record in dataset.query], dataset.sentence


@pytest.mark.parametrize(
    ("dates", "scenes"),
    [
        (("2024-5-1 09:00", "2024-5-1 10:00", "2024-10-2"), [0, 0, 1]),
        (("20240531T09", "20240531T1000", "20240601"), [0, 0, 1]),
        (("2024-05-31T09:00Z", "2024-06-01T09:00Z", "2024-05-31"), [0, 1, 0]),
        (("1/5/2024 9:00", "01/05/2024 10:00", "2/4/2024 9:00"), [1, 1, 0]),
        (("2019", "2018", "2019"), [1, 0, 1]),
    ],
)
def test_a_day_is_a_day_however_it_is_written(table, dates, scenes):
    assert dated(table, *dates)[0] == scenes


@pytest.mark.parametrize("missing", ["NaT", "None", "unknown", "null", "nan", ""])
def test_a_missing_date_is_no_day(table, missing):
    scenes, sentence = dated(table, "2024-05-01", missing, missing)
    assert scenes == [None] * 3
    assert "scenes" not in sentence


@pytest.mark.parametrize("odd", ["spring 2024", "2024-05-01_10", "1714550400", "2024-05"])
def test_a_date_of_another_kind_is_told(table, odd):
    scenes, sentence = dated(table, "2024-05-01", "2024-05-02", odd)
    assert scenes == [None] * 3
    assert f'Careful: date is "{odd}" in line 4 of "metadata.csv"' in sentence


def test_without_splits_half_of_the_animals_train(table):
    rows = [f"{i},{i % 6},images/{i}.png,lion" for i in range(18)]
    dataset = open_dataset(table(*rows, header="image_id,identity,path,species"))
    train, test = ({record.identity for record in side} for side in (dataset.train, dataset.query))
    assert (len(train), len(test), train & test) == (3, 3, set())
    assert dataset.identity_names[1] == "0"  # no distractor
    assert "half of the identities train" in dataset.sentence


def test_a_database_is_looked_up_in_where_queries_are_known(table):
    rows = [row.replace(",train", ",database").replace(",test", ",query") for row in ROWS]
    rows[0] = rows[0].replace("t01", "t03")
    dataset = open_dataset(table(*rows))
    assert (list(dataset.train), len(dataset.query), len(dataset.gallery)) == ([], 3, 2)
    assert dataset.protocol == "all"


def test_a_database_trains_where_nobody_knows_the_queries(table):
    """As AnimalCLEF has it."""
    rows = [row.replace(",train", ",database") for row in ROWS[:2]]
    rows += ["6,,images/6.png,2024-05-03,left,lynx,query"]
    dataset = open_dataset(table(*rows))
    assert (len(dataset.train), list(dataset.query)) == (2, [])


def test_a_closed_set_split_is_warned_of(table):
    dataset = open_dataset(table(*ROWS, "6,t03,images/6.png,2024-05-03,left,green turtle,train"))
    assert "Careful: 1 identity is in training and in the queries." in dataset.sentence


@pytest.mark.parametrize("name", ["annotations.csv", "turtles.csv"])
def test_the_table_itself_can_be_named(table, name):
    root = table(*ROWS, name=name)
    assert open_dataset(root / name).layout == "wildlife"


def test_another_table_stays_one(table, tmp_path):
    """A column of a table's own, or no word of this kind: cameras would be lost."""
    cameras = table("a,1.png,1,2024", "b,2.png,2,2024", header="identity,path,camera,date", name="own.csv")
    assert open_dataset(cameras / "own.csv").layout == "table"
    plain = table("a,1.png,2024", "b,2.png,2024", header="identity,path,date", name="plain.csv")
    assert open_dataset(plain / "plain.csv").layout == "table"
    both = table("a,x/1.png,1,2024", "b,y/2.png,2,2024", header="identity,path,camera,date")
    assert open_dataset(both).layout == "folder"


def test_an_index_without_a_name_is_no_news(table):
    """As data frames write it."""
    rows = [f"{i},{row}" for i, row in enumerate(ROWS)]
    sentence = open_dataset(table(*rows, header=f",{HEADER}")).sentence
    assert "Columns that are not read: image_id, orientation, species." in sentence


def test_boxes_are_not_read_and_told(table):
    rows = [f"{i},t{i % 2},images/{i}.png,[1;2;3;4]" for i in range(4)]
    sentence = open_dataset(table(*rows, header="image_id,identity,path,bbox")).sentence
    assert "Careful: the boxes of the column bbox are not read" in sentence


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("6,t05,images/1.png,2024,left,turtle,test", r'line 7: "images/1\.png" is already in line 2'),
        ("6,t05,images/6.png,2024,left,turtle,tset", r'line 7: split is "tset", not one of .*Did you mean "test"'),
        ("6,t05,images/6.png,2024,left,turtle,", r"line 7: split is empty, but line 2 has one"),
        ("6,t05,,2024,left,turtle,test", r"line 7: path is empty"),
    ],
)
def test_a_wrong_row_is_named(table, row, told):
    with pytest.raises(DataError, match=told):
        open_dataset(table(*ROWS, row))


def test_a_missing_table_and_column_are_named(put, table, tmp_path):
    with pytest.raises(DataError, match=r"has no metadata\.csv or annotations\.csv"):
        open_dataset(put("a/1.png"), layout="wildlife")
    root = table("1,1.png", header="image_id,path", name="x.csv")
    with pytest.raises(DataError, match="has no column identity"):
        open_dataset(root / "x.csv", layout="wildlife")
    root = table("1,unknown,1.png", header="image_id,identity,path")
    with pytest.raises(DataError, match="knows its individual"):
        open_dataset(root)
