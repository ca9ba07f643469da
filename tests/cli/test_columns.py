"""``--column`` in the commands that take a table."""

import csv
import json
from pathlib import Path

import pytest

from reidtune.cli.app import run
from reidtune.data import open_dataset


@pytest.fixture(scope="module")
def table(small_world, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "people.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "Name", "cam", "split"])
        dataset = open_dataset(small_world)
        for split, records in (("query", dataset.query), ("gallery", dataset.gallery)):
            rows.writerows(
                [record.path, f"p{record.identity}", record.camera, split] for record in records if record.identity > 0
            )
    return str(path)


OPTIONS = ["--column", "path=file", "--column", "identity=name", "--column", "camera=cam"]


@pytest.mark.parametrize("name", ["data", "evaluate", "embed"])
def test_a_table_is_read_with_columns_and_refused_without(name, table, tmp_path, capsys):
    more = {"data": ["--quick"], "evaluate": ["--backbone=tiny"], "embed": ["--backbone=tiny"]}[name]
    if name == "embed":
        more += ["--output", str(tmp_path / "f.npy"), "--force"]
    assert run([name, table, *more, "--json"]) == 4
    assert "--column path=file --column identity=name" in capsys.readouterr().err
    assert run([name, table, *more, *OPTIONS, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["layout"], found["protocol"]) == ("table", "cross-camera")
    assert run([name, table, *more, *OPTIONS[:3], "identity=nam", "--json"]) == 2
    assert 'identity=nam: there is no such column. Did you mean "name"?' in capsys.readouterr().err
    assert run([name, table, *more, "--column", "name", "--json"]) == 2
    assert "--column name: must be NAME=COLUMN" in capsys.readouterr().err


def test_labels_of_features(table, tmp_path, capsys):
    features = str(tmp_path / "f.npy")
    assert run(["embed", table, "--backbone=tiny", "--output", features, *OPTIONS]) == 0
    queries = Path(table).read_text().count(",query\n")
    capsys.readouterr()
    assert run(["evaluate", "--features", features, "--labels", table, *OPTIONS, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["queries"]["total"] == queries


def test_several_datasets_one_after_the_other(small_world, table, tmp_path, capsys):
    twice = ["data", table, "--data", str(small_world), "--quick"]
    assert run([*twice, "--layout", "market1501"]) == 4
    capsys.readouterr()
    assert run(["data", str(small_world), "--data", "demo", "--quick", "--json", "--output", str(tmp_path / "o")]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result["data"] for result in results] == [str(small_world), "demo"]
    assert json.loads((tmp_path / "o").read_text())["results"] == results
    assert run(["data", str(small_world), "--data", "demo", "--quick", "-q"]) == 0
    out = capsys.readouterr().out
    assert (out.index(str(small_world)), "\ndemo\n" in out) == (0, True)
    assert run(["data", "demo", "--data", "demo:text", "--sheet", "x.png"]) == 2
    assert "--sheet draws one dataset" in capsys.readouterr().err
