"""``reidtune data``: what is printed, and with which code it leaves."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from reidtune.cli.app import run


@pytest.fixture
def data(capsys):
    """Run the command; returns code, stdout and stderr (lines joined)."""

    def call(*arguments):
        code = run(["data", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, " ".join(printed.err.split())

    return call


@pytest.fixture
def world(small_world, tmp_path):
    return shutil.copytree(small_world, tmp_path / "world")


def test_good_data_leaves_with_0_and_stdout_has_the_tables_alone(data, small_world):
    code, out, err = data(small_world)
    assert code == 0
    assert out.startswith("split")
    assert "Can be trained on and evaluated: no errors" in out
    assert err.startswith("Market-1501 names: ")
    assert data(small_world, "-q")[2] == ""


def test_json_is_one_object_and_the_file_the_same(data, small_world, tmp_path):
    code, out, err = data(small_world, "--json", "--quick", "--output", tmp_path / "a.json", "--protocol", "all")
    assert (code, err) == (0, "")
    printed = json.loads(out)
    assert printed == json.loads((tmp_path / "a.json").read_text())
    assert (printed["data"], printed["quick"], printed["protocol"]) == (str(small_world), True, "all")
    assert data(small_world, "--output", tmp_path / "a.json")[0] == 2
    assert data(small_world, "--quick", "--output", tmp_path / "a.json", "--force")[0] == 0


def test_an_error_in_the_data_leaves_with_4_after_the_report(data, world, tmp_path):
    next((world / "bounding_box_train").iterdir()).write_bytes(b"")
    code, out, err = data(world, "--output", tmp_path / "a.json")
    assert code == 4
    assert "Can be evaluated, not trained on: 1 error" in out
    assert "cannot be trained on as it is: 1 image file of" in err
    assert err.endswith("Replace the files or take them out of the dataset.")
    assert json.loads((tmp_path / "a.json").read_text())["verdict"]["errors"] == 1
    code, out, _ = data(world, "--json")
    assert code == 4
    assert json.loads(out)["files"]["broken"] == 1


def test_warnings_leave_with_0(data, world):
    source = next((world / "bounding_box_train").iterdir())
    shutil.copy(source, source.with_name("9999_c1s1_000001_00.png"))
    code, out, _ = data(world)
    assert code == 0
    assert "byte for byte, under several identities" in " ".join(out.split())
    assert "no errors, 1 warning." in out


def test_what_is_no_dataset_leaves_with_4_and_bad_settings_with_2(data, tmp_path, small_world):
    assert data(tmp_path / "gone")[0] == 4
    assert data(small_world, "--layout", "market")[0] == 2
    code, _, err = data(small_world, "--sheet", tmp_path / "a.txt")
    assert code == 2
    assert "no kind of picture" in err


def test_the_sheet_is_drawn_also_where_files_are_broken(data, world, tmp_path):
    for path in (world / "query").iterdir():
        path.write_bytes(b"")
    assert data(world, "--sheet", tmp_path / "new" / "a.png", "--quick")[0] == 4
    assert Image.open(tmp_path / "new" / "a.png").height > 3 * 128


def test_tables_with_captions_are_read(data, tmp_path):
    rows = ["path,identity,caption,split"]
    for number in range(16):
        Image.linear_gradient("L").rotate(20 * number).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number // 2},a person with {number} bags,{'train' if number < 10 else 'test'}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    code, out, _ = data(tmp_path / "t.csv", "--quick", "--json")
    printed = json.loads(out)
    assert (code, printed["task"], printed["captions"]["counted_in"]) == (0, "text", "words")
    assert printed["captions"]["captions"] == 16
    assert [finding["kind"] for finding in printed["findings"]] == ["converted-images", "distorted"]
