"""A small copy of VehicleID from the data to the numbers, as a user goes: data, train, inspect, evaluate."""

import json
import shutil

import pytest

from reidtune.cli.app import run
from reidtune.data import open_dataset
from reidtune.delta import read_header


@pytest.fixture(scope="module")
def vehicles(small_world, tmp_path_factory):
    """People of the demo world, as if they were vehicles."""
    folder = tmp_path_factory.mktemp("vehicles")
    (folder / "image").mkdir()
    (folder / "train_test_split").mkdir()
    world, number = open_dataset(small_world), 0
    for name, records in (("train_list", world.train), ("test_list_800", [*world.query, *world.gallery])):
        lines = []
        for record in records:
            if record.identity > 0:
                number += 1
                shutil.copy(record.path, folder / "image" / f"{number:07}{record.path.suffix}")
                lines.append(f"{number:07} {record.identity}")
        (folder / "train_test_split" / f"{name}.txt").write_text("\n".join(lines))
    return folder


def call(capsys, *words):
    code = run([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out, " ".join(printed.err.split())


def test_the_whole_way(vehicles, small_backbone, tmp_path, capsys):
    backbone = f"--backbone=local-dir:{small_backbone.architecture.folder}"
    code, out, _ = call(capsys, "data", vehicles, "--quick", "--json")
    surveyed = json.loads(out)
    assert (code, surveyed["protocol"], surveyed["verdict"]["errors"]) == (0, "random-gallery", 0)

    options = [backbone, "--image-size=32x16", "--batch-size=8", "--workers=0", "--steps=2", "-q"]
    assert call(capsys, "train", vehicles, *options, "--output", tmp_path / "run")[0] == 0
    header = read_header(tmp_path / "run/delta.safetensors")
    assert header.protocol == header.metrics["protocol"] == "random-gallery"
    assert (header.metrics["draws"], header.metrics["skipped"]) == (10, 0)
    code, out, _ = call(capsys, "inspect", tmp_path / "run")
    assert code == 0
    assert "protocol random-gallery" in out

    code, out, err = call(capsys, "evaluate", vehicles, "--delta", tmp_path / "run", backbone)
    assert code == 0
    assert "The test split is test_list_800.txt." in err
    assert "±" in out
    assert f"{surveyed['queries']['total']:,} queries" in out
    code, out, _ = call(capsys, "evaluate", vehicles, backbone, "--json", "--layout", "vehicleid")
    printed = json.loads(out)
    assert printed["queries"]["total"] == surveyed["queries"]["total"]
    assert (printed["draws"], set(printed["deviation"])) == (10, set(printed["metrics"]))


def test_another_list_that_is_not_there_is_4(vehicles, capsys):
    code, _, err = call(capsys, "evaluate", vehicles, "--layout", "vehicleid-2400", "--backbone", "tiny")
    assert code == 4
    assert "has no test_list_2400.txt; there are test_list_800.txt." in err
