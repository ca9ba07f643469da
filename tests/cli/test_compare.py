"""``reidtune compare``: lists on the command line, what is printed, exit codes, going on."""

import csv
import json
import shlex
import signal

import pytest
from PIL import Image

from reidtune.cli.app import run
from tests.cli.signalled import signalled

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture(scope="module")
def short(options):
    return [*options, "--steps=2", "--set", "optimiser.lr=0.05"]


def printed(capsys, code, *arguments):
    assert run([str(argument) for argument in arguments]) == code
    return capsys.readouterr()


def test_a_comparison_prints_its_table_and_leaves_its_files(capsys, small_world, short, tmp_path):
    said = printed(capsys, 0, "compare", small_world, "--methods", "lora", "vpt", "--seeds", "1", "2", *short)
    folder = tmp_path / "runs" / f"compare-{small_world.name}"
    lines = said.out.splitlines()
    names = [line.split()[0] for line in lines if line.startswith(("zero-shot", "lora", "vpt"))]
    assert names[0] == "zero-shot" and sorted(names[1:]) == ["lora", "vpt"]
    assert "Budget of every row: 2 steps, batches of 8 at 32×16 pixels." in said.out
    assert f"runs/compare-{small_world.name}/compare.json, .csv, .png, .html" in " ".join(said.out.split())
    for sentence in ("The backbone alone (zero-shot).", "Run 1 of 4: lora, seed 1.", "Run 4 of 4: vpt, seed 2."):
        assert sentence in said.err
    assert sum(line.startswith("epoch   1") for line in said.err.splitlines()) == 4
    with (folder / "compare.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == names
    assert table[1]["seeds"] == "1 2"
    assert Image.open(folder / "compare.png").size[0] == 2000
    page = (folder / "compare.html").read_text()
    assert all(f">{name}</td>" in page or f"</svg>{name}</td>" in page for name in names)


def test_json_is_one_object_and_nothing_else(capsys, small_world, short, tmp_path):
    out = tmp_path / "out"
    arguments = [
        "compare",
        small_world,
        "--methods",
        "lora,lora:rank=2",
        "--seeds",
        "3",
        *short,
        "--output",
        out,
        "--json",
    ]
    said = printed(capsys, 0, *arguments)
    assert said.err == ""
    result = json.loads(said.out)
    assert result == json.loads((out / "compare.json").read_text())
    assert set(result) >= {"schema", "data", "backbone", "budget", "environment", "seeds", "baseline", "rows", "runs"}
    rows = {row["name"]: row for row in result["rows"]}
    assert set(rows) == {"lora", "lora:rank=2"}
    assert rows["lora"]["parameters"] == 4 * rows["lora:rank=2"]["parameters"]
    assert rows["lora:rank=2"]["set"] == {"settings.rank": 2}
    assert rows["lora"]["mAP"]["deviation"] is None
    assert [run["run"] for run in result["runs"]] == ["lora-seed3", "lora-rank-2-seed3"]
    assert result["given"]["optimiser.lr"] == 0.05
    again = printed(capsys, 0, *arguments)
    assert json.loads(again.out) == result  # also the speed: nothing was trained


def test_a_failed_row_is_told_and_leaves_exit_code_1(capsys, small_world, short, tmp_path):
    methods = ["lora", "vpt:optimiser.lr=1e30,optimiser.clip_norm=none"]
    said = printed(
        capsys, 1, "compare", small_world, "--methods", *methods, "--seeds=1", *short, "--output", tmp_path / "o", "-q"
    )
    assert said.err == ""
    words = " ".join(said.out.split())
    assert "(failed)" in words and "The loss became" in words
    assert "Budget of every row" in words
    result = json.loads((tmp_path / "o" / "compare.json").read_text())
    assert [row["mAP"] is None for row in result["rows"]] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "lora", "WORLD"], "DATA is missing."),  # taken as a method
        (["WORLD", "--epochs", "2", "--steps", "3"], "--epochs and --steps both say how long"),
        (["WORLD", "--seeds", "1", "two"], "--seeds 1 two: seeds are whole numbers."),
        (["WORLD", "--seeds", "1,1"], "The seeds are 1, 1."),
        (["WORLD", "--methods", "lorra"], 'Unknown method "lorra". Did you mean "lora"?'),
        (["WORLD", "--methods", "dm-adapter"], "dm-adapter is for text data, but this is image data"),
        (["WORLD", "--methods", "vpt", "--set", "settings.rank=4"], "vpt: A setting is wrong:"),
        (["WORLD", "--recipe", "nope.toml"], 'There is no recipe "nope.toml".'),
        (["WORLD", "--methods", "lora:training.steps=2"], "sets training.steps, which is the same for all rows"),
    ],
)
def test_what_is_refused_before_anything_begins(capsys, small_world, arguments, message, tmp_path):
    words = [small_world if word == "WORLD" else word for word in arguments]
    said = printed(capsys, 2, "compare", *words)
    assert message in said.err
    assert said.out == ""
    assert not (tmp_path / "runs").exists()


def test_a_changed_setting_is_refused_by_name(capsys, small_world, short, options, tmp_path):
    out = tmp_path / "out"
    printed(capsys, 0, "compare", small_world, "--methods", "bias", "--seeds=1", *short, "--output", out, "-q")
    said = printed(
        capsys, 2, "compare", small_world, "--methods", "bias", "--seeds=1", *options, "--steps=3", "--output", out
    )
    assert "these changed: optimiser.lr (of bias); training.steps (of bias)." in said.err
    said = printed(
        capsys,
        0,
        "compare",
        small_world,
        "--methods",
        "bias",
        "--seeds=1",
        *options,
        "--steps=3",
        "--output",
        out,
        "--force",
    )
    assert "Budget of every row: 3 steps" in said.out


def test_missing_data_is_a_matter_of_data(capsys):
    assert "There is no file or folder" in printed(capsys, 4, "compare", "nowhere").err


def test_ctrl_c_leaves_130_and_the_command_that_goes_on(small_world, options, tmp_path):
    out = tmp_path / "out folder"
    words = ["compare", str(small_world), "--methods", "lora", "--seeds", "1", *options, "--steps=4000"]
    words += ["--output", str(out)]
    trained = out / "lora-seed1" / "metrics.csv"
    code, stdout, stderr = signalled([*words, "--force"], trained, signal.SIGINT)
    assert code == 130, stderr
    assert stdout == "" and "Traceback" not in stderr
    assert "Interrupted at step" in stderr
    [hint] = [line for line in stderr.splitlines() if line.startswith("Go on with: ")]
    assert shlex.split(hint.removeprefix("Go on with: reidtune ")) == words  # without --force
    assert (out / "compare.json").is_file() and (out / "compare.html").is_file()
