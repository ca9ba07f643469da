"""Training on several datasets at once, and on a table that names its columns otherwise."""

import csv
import json
import shutil

import pytest

from reidtune.cli.app import run as command
from reidtune.data import open_dataset
from reidtune.delta import read_header
from reidtune.errors import SettingsError
from reidtune.report.plan_table import plan_table
from reidtune.training.open import open_run
from reidtune.training.plan import dry_run
from reidtune.training.stop import Interrupted
from tests.training.reporter import InterruptAt, Silent

COLUMNS = {"path": "file", "identity": "Name", "camera": "cam"}


@pytest.fixture
def flags(least):
    return {
        **least,
        "training.epochs": 2,
        "augmentation.pad": 2,
        "data.columns": COLUMNS,
    }


@pytest.fixture(scope="module")
def table(small_world, tmp_path_factory):
    """The world's training images as a table of other people."""
    folder = shutil.copytree(small_world / "bounding_box_train", tmp_path_factory.mktemp("table") / "images")
    path = folder.with_name("people.csv")
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "Name", "cam", "split"])
        for record in open_dataset(small_world).train:
            rows.writerow([folder / record.path.name, f"person {record.identity}", record.camera, "train"])
    return str(path)


def test_a_joined_run_says_what_it_was_and_goes_on_exactly(small_world, table, flags, tmp_path):
    sources = [str(small_world), table]
    whole = open_run(sources, None, flags, output=tmp_path / "whole")
    whole.train(whole.prepare(), Silent())
    data = read_header(tmp_path / "whole").data
    assert (data["layout"], [part["layout"] for part in data["datasets"]]) == ("joined", ["market1501", "table"])
    assert [part["train"]["identities"] for part in data["datasets"]] == [7, 7]
    assert {name.split("/")[0] for name in data["validation"]["identities"]} == {"1", "2"}
    assert json.loads((tmp_path / "whole" / "environment.json").read_text())["data"] == sources
    assert (
        'columns = { path = "file", identity = "Name", camera = "cam" }'
        in (tmp_path / "whole" / "recipe.toml").read_text()
    )

    broken = open_run(sources, None, flags, output=tmp_path / "broken")
    with pytest.raises(Interrupted) as stopped:
        broken.train(broken.prepare(), InterruptAt(5))
    assert f"--data {table} --resume" in stopped.value.hint
    again = open_run(None, None, {}, resume=tmp_path / "broken")
    again.train(again.prepare(), Silent())
    for name in ("delta.safetensors", "metrics.csv"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_resumed_run_keeps_its_datasets_and_columns(small_world, table, flags, tmp_path):
    run = open_run([str(small_world), table], None, flags, output=tmp_path / "run")
    with pytest.raises(Interrupted):
        run.train(run.prepare(), InterruptAt(2))
    for sources in ([table, str(small_world)], [table]):
        other = open_run(sources, None, {}, resume=tmp_path / "run")
        with pytest.raises(SettingsError, match="The data .* is not the one"):
            other.train(other.prepare(), Silent())
    with pytest.raises(SettingsError, match=r"these changed: data\.columns"):
        open_run(None, None, {"data.columns": {"identity": "cam"}}, resume=tmp_path / "run")


def test_a_dry_run_counts_each_dataset(small_world, table, flags, tmp_path):
    prepared = open_run([str(small_world), table], None, flags, output=tmp_path / "run").prepare()
    plan = dry_run(prepared)
    parts = plan["data"]["datasets"]
    for side in ("training", "validation"):
        for what in ("images", "identities"):
            assert sum(part[side][what] for part in parts) == plan["data"][side][what]
    assert [part["validation"]["identities"] for part in parts] == [2, 2]
    first = [str(cell) for cell in plan_table(plan).columns[0].cells]
    assert [cell.strip() for cell in first[1:3]] == ["1 market1501", "2 table"]


def test_a_batch_may_hold_people_of_both(small_world, table, flags, tmp_path):
    prepared = open_run([str(small_world), table], None, flags, output=tmp_path / "run").prepare()
    from reidtune.training.schedule import sampler_for

    parts = prepared.dataset.parts
    mixed = 0
    for batch in sampler_for(prepared.train, prepared.config).batches(0):
        people = {prepared.train[index].identity for index in batch}
        assert len(people) == 2
        mixed += all(people & {*part.identities} for part in parts)
    assert mixed


def test_the_command_line(small_world, table, flags, tmp_path, capsys):
    options = ["--backbone", flags["backbone.name"], "--image-size", "32x16", "--batch-size", "8", "--workers", "0"]
    columns = [f"--column={what}={name}" for what, name in COLUMNS.items()]
    train = ["train", str(small_world), "--data", table, *columns, *options, "--steps", "2"]
    assert command([*train, "--dry-run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["data"]["datasets"]) == 2
    assert command([*train, "--output", str(tmp_path / "run")]) == 0
    out = capsys.readouterr()
    assert "2 datasets joined for training: 14 identities" in out.err
    first, second = [line for line in out.out.splitlines() if line.startswith("Evaluate it: ")]
    assert "--column" not in first  # it is no table
    assert second.endswith(" ".join(f"--column {what}={name}" for what, name in COLUMNS.items()))
    assert command(["inspect", str(tmp_path / "run")]) == 0
    assert "dataset 2   hash" in capsys.readouterr().out
    assert command(["train", "--data", table]) == 2
    assert "joined to nothing" in capsys.readouterr().err


def test_columns_of_a_recipe_and_of_flags_are_joined(table, flags, tmp_path, capsys):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('method = "lora"\n[data.columns]\npath = "file"\nidentity = "cam"\n')
    arguments = ["train", table, "--recipe", str(recipe), "--column", "identity=Name", "--print-config"]
    assert command([*arguments, "--set", "data.columns.camera=cam"]) == 0
    assert 'columns = { path = "file", identity = "Name", camera = "cam" }' in capsys.readouterr().out
    recipe.write_text('method = "lora"\n[data.columns]\npath = 3\nidentity = ""\n')
    assert command(arguments) == 2
    said = capsys.readouterr().err
    assert "data.columns.path: must be a valid string, but is 3" in said
    assert "data.columns.identity" not in said  # the flag is another
