"""``reidtune train``: flags that meet, what is printed, and what is left behind."""

import json
import shlex
import shutil

import pytest

from reidtune.cli.app import run
from reidtune.delta import read_tensors

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture(scope="module")
def options(options):
    return [*options, "--lr=0.05"]


@pytest.fixture(scope="module")
def finished(small_world, options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert run(["train", str(small_world), *options, "--steps=4", "--output", str(folder), "-q"]) == 0
    return folder


def print_config(capsys, *arguments):
    assert run(["train", *map(str, arguments), "--print-config", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_print_config_as_json_is_one_object(capsys, small_world, options):
    printed = print_config(capsys, small_world, *options)
    assert printed["schema"] == 1
    assert printed["recipe"]["optimiser"]["lr"] == 0.05
    assert printed["recipe"]["settings"]["rank"] == 8
    assert printed["origins"]["optimiser.lr"] == "flag"
    assert printed["origins"]["settings.rank"] == "recipe lora"


def test_epochs_and_steps_together_are_refused(capsys, small_world, options):
    assert run(["train", str(small_world), *options, "--epochs=2", "--steps=3"]) == 2
    assert "--epochs and --steps both say how long" in capsys.readouterr().err


def test_epochs_as_a_flag_win_over_the_steps_of_a_recipe(capsys, small_world, options, tmp_path):
    recipe = tmp_path / "short.toml"
    recipe.write_text('method = "lora"\n[training]\nsteps = 3\n')
    assert print_config(capsys, small_world, *options, "--recipe", recipe)["recipe"]["training"]["steps"] == 3
    training = print_config(capsys, small_world, *options, "--recipe", recipe, "--epochs", 7)["recipe"]["training"]
    assert (training["epochs"], training["steps"]) == (7, None)


def test_what_writes_nothing_does_not_mind_a_folder_in_use(capsys, small_world, options, finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    arguments = ["train", str(small_world), *options, "--output", str(finished)]
    assert run([*arguments, "--dry-run"]) == 0
    assert run([*arguments, "--print-config"]) == 0
    assert run(arguments) == 2
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_the_printed_command_works_with_awkward_names(capsys, small_world, options, small_backbone, tmp_path):
    data, folder = tmp_path / "my [red] world", tmp_path / "run 1"
    shutil.copytree(small_world, data)
    assert run(["train", str(data), *options, "--steps=1", "--output", str(folder), "-q"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    words = shlex.split(line.removeprefix("Evaluate it: reidtune "))
    assert words == ["evaluate", str(data), "--delta", str(folder)]
    assert run([*words, f"--backbone=local-dir:{small_backbone.architecture.folder}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["queries"]["total"] == 17


def test_each_of_several_datasets_has_its_command(capsys, small_world, options, tmp_path):
    other = tmp_path / "other.csv"
    files = sorted((small_world / "bounding_box_train").glob("*.jpg"))
    images = shutil.copytree(small_world / "bounding_box_train", tmp_path / "images")
    rows = [f"{images / file.name},p{file.name[:4]},train" for file in files]
    other.write_text("\n".join(["file,identity,split", *rows]) + "\n")
    arguments = ["train", str(small_world), "--data", str(other), "--column", "path=file", *options, "--steps=1", "-q"]
    assert run([*arguments, "--output", str(tmp_path / "run")]) == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Evaluate it: ")]
    assert [shlex.split(command)[4:] for command in commands] == [
        [str(small_world), "--delta", str(tmp_path / "run")],
        [str(other), "--delta", str(tmp_path / "run"), "--column", "path=file"],
    ]


def test_a_run_starts_from_another_deltas_values(capsys, small_world, options, finished, tmp_path):
    arguments = ["train", str(small_world), *options, "--steps=1", "--json", "--lr=1e-9"]
    assert run([*arguments, "--output", str(tmp_path / "a"), "--init-from", str(finished)]) == 0
    result = json.loads(capsys.readouterr().out)
    donor, start = read_tensors(finished), read_tensors(result["delta"])
    assert all((donor[name] - start[name]).abs().max() < 1e-6 for name in donor)
    assert any(value.abs().max() > 1e-3 for name, value in donor.items() if name.endswith("B"))  # not neutral itself
    assert run([*arguments, "--output", str(tmp_path / "b"), "--init-from", str(finished), "--method=vpt"]) == 2
    assert "is a delta of the method lora, but this run trains vpt" in capsys.readouterr().err
    assert run([*arguments, "--output", str(tmp_path / "b"), "--init-from", str(tmp_path / "nope")]) == 2
    assert "There is no delta at" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_force_replaces_a_run_and_leaves_other_files(capsys, small_world, options, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "evaluate.json").write_text("{}")
    (folder / "notes.txt").write_text("mine")
    before = (folder / "delta.safetensors").read_bytes()
    arguments = ["train", str(small_world), *options, "--steps=2", "--seed=5", "--output", str(folder), "-q", "--force"]
    assert run(arguments) == 0
    assert (folder / "delta.safetensors").read_bytes() != before
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "evaluate.json").exists()  # its numbers were those of the other delta


def test_a_finished_run_says_so_when_resumed(capsys, finished):
    before = (finished / "delta.safetensors").read_bytes()
    assert run(["train", "--resume", str(finished)]) == 0
    assert "All 4 steps are done already." in capsys.readouterr().err
    assert (finished / "delta.safetensors").read_bytes() == before


def test_json_of_a_refusal_leaves_stdout_empty(capsys, small_world, options, finished):
    assert run(["train", str(small_world), *options, "--output", str(finished), "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "is not empty" in printed.err
