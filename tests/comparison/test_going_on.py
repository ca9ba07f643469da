"""A comparison that stopped goes on; what changed is refused."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from reidtune.comparison import one_run, work
from reidtune.errors import SettingsError
from reidtune.training.stop import Interrupted
from tests.comparison.comparing import STEPS, Steps, by_name, call, files
from tests.training.reporter import InterruptAt


def test_again_nothing_is_trained_or_evaluated(finished, small_world, flags, monkeypatch):
    result, folder = finished
    before = files(folder)
    for name in ("evaluate", "count", "train_and_test"):
        monkeypatch.setattr(work, name, None)
    assert call(small_world, flags, folder) == result
    assert files(folder) == before


def test_further_rows_and_seeds_are_added(finished, small_world, flags, tmp_path):
    folder = shutil.copytree(finished[1], tmp_path / "out")
    steps = Steps()
    result = call(small_world, flags, folder, ("lora", "bias"), (2, 3), reporter=steps)
    assert len(steps.starts) == 3  # lora with seed 2 is there
    assert [(run["row"], run["seed"]) for run in result["runs"]] == [("lora", 2), ("bias", 2), ("lora", 3), ("bias", 3)]
    assert by_name(result)["lora"]["mAP"]["values"][0] == by_name(finished[0])["lora"]["mAP"]["values"][1]
    assert (folder / "vpt-seed1").is_dir()


@pytest.mark.parametrize("at", [1, STEPS + 2])
def test_an_interrupted_comparison_goes_on_and_ends_alike(finished, small_world, flags, tmp_path, at):
    """In the first run, and in the second, which is half done."""
    folder = tmp_path / "out"
    stopping = Stopping(at)
    with pytest.raises(Interrupted) as stopped:
        call(small_world, flags, folder, seeds=(1,), reporter=stopping, again="reidtune compare X")
    assert stopped.value.exit_code == 130
    assert stopped.value.hint == "Go on with: reidtune compare X"
    assert (folder / "compare.html").is_file()  # with what there is
    steps = Steps()
    result = call(small_world, flags, folder, seeds=(1,), reporter=steps)
    assert steps.starts[0] == (at % STEPS, STEPS)
    assert len(steps.starts) == 2 - at // STEPS  # the first run is not touched where it was done
    assert steps.steps == 2 * STEPS - at
    for name in ("lora", "vpt"):
        delta = Path(f"{name}-seed1") / "delta.safetensors"
        assert (folder / delta).read_bytes() == (finished[1] / delta).read_bytes()
        assert by_name(result)[name]["mAP"]["values"] == by_name(finished[0])[name]["mAP"]["values"][:1]
    assert all(run["samples"] == STEPS * 8 for run in result["runs"])  # those before the interruption count


class Stopping(InterruptAt):
    """Sends the signal at a step counted over all runs."""

    def step(self, step, loss):
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_between_trainings_stops_at_once_and_says_how_to_go_on(
    small_world, flags, tmp_path, monkeypatch, number, code
):
    def stop(*arguments, **options):
        os.kill(os.getpid(), number)
        raise AssertionError("it went on")

    monkeypatch.setattr(one_run, "evaluate_dataset", stop)
    with pytest.raises(Interrupted) as stopped:
        call(small_world, flags, tmp_path / "out", again="reidtune compare Y")
    assert stopped.value.exit_code == code
    assert stopped.value.hint == "Go on with: reidtune compare Y"


def test_a_run_that_was_trained_but_not_evaluated_is_not_trained_again(finished, small_world, flags, tmp_path):
    folder = shutil.copytree(finished[1], tmp_path / "out")
    (folder / "vpt-seed1" / "comparison.json").unlink()
    steps = Steps()
    result = call(small_world, flags, folder, reporter=steps)
    assert steps.steps == 0
    assert by_name(result)["vpt"]["mAP"] == by_name(finished[0])["vpt"]["mAP"]


@pytest.mark.parametrize(
    ("changes", "methods", "told"),
    [
        ({"training.steps": 5}, ("lora", "vpt"), "training.steps (of lora, vpt)"),
        (
            {"optimiser.lr": 0.1, "training.batch_size": 16},
            ("vpt",),
            "optimiser.lr (of vpt); training.batch_size (of vpt)",
        ),
    ],
)
def test_changed_settings_are_refused_by_name(finished, small_world, flags, changes, methods, told):
    before = files(finished[1])
    with pytest.raises(SettingsError) as refused:
        call(small_world, {**flags, **changes}, finished[1], methods)
    assert f"keeps its settings, but these changed: {told}." in refused.value.message
    assert "--force" in refused.value.hint
    assert files(finished[1]) == before


def test_what_changes_nothing_but_speed_may_change(finished, small_world, flags):
    result = call(small_world, {**flags, "training.workers": 1}, finished[1])
    assert by_name(result)["vpt"]["mAP"] == by_name(finished[0])["vpt"]["mAP"]


def test_a_recipe_of_an_earlier_version_has_the_defaults(finished, small_world, flags, tmp_path):
    folder = shutil.copytree(finished[1], tmp_path / "out")
    recipe = folder / "lora-seed1" / "recipe.toml"
    lines = recipe.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(("towers =", "per_modality =", "label_smoothing ="))]
    assert len(kept) == len(lines) - 3
    recipe.write_text("".join(kept))
    assert call(small_world, flags, folder)["rows"] == finished[0]["rows"]


def test_other_data_is_refused(finished, small_world, flags, tmp_path):
    other = shutil.copytree(small_world, tmp_path / "other")
    min((other / "query").glob("0*.jpg")).unlink()
    with pytest.raises(SettingsError, match="The data is not the one that the comparison in .* was started on"):
        call(other, flags, finished[1])


def test_a_folder_of_something_else_is_refused_and_force_begins_anew(small_world, flags, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="is not empty, and holds no comparison"):
        call(small_world, flags, folder, ("bias",), (1,))
    first = call(small_world, flags, folder, ("bias",), (1,), force=True)
    steps = Steps()
    again = call(small_world, {**flags, "training.steps": 2}, folder, ("bias",), (1,), force=True, reporter=steps)
    assert steps.starts == [(0, 2)]
    assert again["runs"][0]["samples"] == 16
    assert first["runs"][0]["samples"] == STEPS * 8
    assert (folder / "notes.txt").read_text() == "mine"
