"""Whole comparisons on a small world and a small backbone: numbers, going on, refusals, failures."""

import contextlib
import json
import os
import shutil
import signal
import statistics
from pathlib import Path

import pytest

from reidtune.comparison import one_run, work
from reidtune.comparison.compare import compare
from reidtune.delta import read_file, read_header
from reidtune.errors import DataError, SettingsError
from reidtune.evaluation import evaluate_dataset
from reidtune.training.plan import dry_run
from reidtune.training.run import open_run
from reidtune.training.stop import Interrupted
from tests.training.reporter import InterruptAt, Silent

STEPS = 4


@pytest.fixture(scope="module")
def flags(small_backbone):
    return {
        "backbone.name": f"local-dir:{small_backbone.architecture.folder}",
        "backbone.image_size": "32x16",
        "optimiser.lr": 0.05,
        "training.steps": STEPS,
        "training.batch_size": 8,
        "training.workers": 0,
        "data.validation_fraction": 0.3,
    }


class Steps(Silent):
    """Counts the steps of all trainings."""

    def __init__(self):
        super().__init__()
        self.starts = []

    def start(self, done, steps):
        super().start(done, steps)
        self.starts.append((done, steps))


def call(world, flags, output, methods=("lora", "vpt"), seeds=(1, 2), *, reporter=None, said=None, **options):
    sources = [str(world)] if isinstance(world, str | Path) else [*map(str, world)]
    told = reporter or Steps()
    return compare(
        sources,
        methods,
        options.pop("recipes", ()),
        seeds,
        flags,
        output=output,
        say=(lambda sentence: None) if said is None else said.append,
        reporter=lambda: contextlib.nullcontext(told),
        counting=lambda: contextlib.nullcontext(lambda done, total: None),
        **options,
    )


@pytest.fixture(scope="module")
def finished(small_world, flags, tmp_path_factory):
    """Two methods, two seeds; the result and its folder."""
    folder = tmp_path_factory.mktemp("comparison") / "out"
    return call(small_world, flags, folder), folder


def by_name(result):
    return {row["name"]: row for row in result["rows"]}


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_table_is_made_of_the_run_folders(finished, small_world, flags):
    """Everything but the speed is computed anew from what lies there, with what the other commands use."""
    result, folder = finished
    assert result["finished"] and result["seeds"] == [1, 2]
    assert {path.name for path in folder.iterdir()} == {
        *("lora-seed1", "lora-seed2", "vpt-seed1", "vpt-seed2", "zero-shot.json"),
        *("compare.json", "compare.csv", "compare.png", "compare.html"),
    }
    backbone = flags["backbone.name"]
    zero = evaluate_dataset(str(small_world), None, backbone=backbone, image_size="32x16")["metrics"]
    assert result["baseline"]["tests"][0]["metrics"] == zero
    for name in ("lora", "vpt"):
        row = by_name(result)[name]
        runs = [folder / f"{name}-seed{seed}" for seed in (1, 2)]
        tests = [evaluate_dataset(str(small_world), run, backbone=backbone)["metrics"] for run in runs]
        for metric in ("mAP", "rank-1"):
            values = [test[metric] for test in tests]
            assert row[metric]["values"] == values
            assert row[metric]["mean"] == pytest.approx(statistics.mean(values))
            assert row[metric]["deviation"] == pytest.approx(statistics.stdev(values))
        assert row["gain"] == pytest.approx(row["mAP"]["mean"] - zero["mAP"])
        assert row["validation_mAP"]["values"] == [read_header(run).metrics["mAP"] for run in runs]
        assert row["bytes"] == round(statistics.mean(read_file(run / "delta.safetensors").bytes for run in runs))
        plan = dry_run(open_run(str(small_world), str(runs[0]), {}, output=Path("unused")).prepare())
        assert row["parameters"] == plan["parameters"]["trainable"]
        assert row["activation_bytes"] == plan["memory"]["activation_bytes_per_image"]
        assert row["images_per_second"] > 0
    assert [row["mAP"]["mean"] for row in result["rows"]] == sorted(
        (r["mAP"]["mean"] for r in result["rows"]), reverse=True
    )
    values = [run["tests"][0]["metrics"]["mAP"] for run in result["runs"]]
    assert len(set(values)) > 1  # or nothing above could fail


def test_a_run_is_the_one_that_train_makes(finished, small_world, flags, tmp_path):
    _, folder = finished
    run = open_run(str(small_world), None, {**flags, "method": "vpt", "seed": 2}, output=tmp_path / "alone")
    run.train(run.prepare(), Silent())
    for name in ("delta.safetensors", "recipe.toml", "metrics.csv"):
        assert (folder / "vpt-seed2" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_every_row_has_the_same_budget_and_validation(finished):
    result, _ = finished
    for seed in (1, 2):
        budgets = [run["budget"] for run in result["runs"] if run["seed"] == seed]
        assert len(budgets) == 2 and budgets[0] == budgets[1]
        assert (budgets[0]["steps"], budgets[0]["batch_size"]) == (STEPS, 8)
        assert budgets[0]["validation_identities"] == 2
    first, second = (run["budget"]["validation_hash"] for run in result["runs"] if run["row"] == "vpt")
    assert first != second  # each seed holds out others


def test_the_json_says_where_its_numbers_come_from(finished):
    result, folder = finished
    assert json.loads((folder / "compare.json").read_text()) == json.loads(json.dumps(result))
    assert result["schema"] == 1
    assert result["data"]["hash"] == read_header(folder / "lora-seed1").data["hash"]
    assert result["backbone"]["fingerprint"] == read_header(folder / "lora-seed1").backbone["fingerprint"]["digest"]
    assert set(result["environment"]["versions"]) == {"reidtune", "torch", "open_clip"}
    assert result["budget"] == {"epochs": None, "steps": [STEPS, STEPS], "batch_size": 8, "from": "flags"}
    run = result["runs"][0]
    assert (run["row"], run["seed"], run["run"], run["status"]) == ("lora", 1, "lora-seed1", "finished")
    assert run["digest"] == read_header(folder / "lora-seed1").digest
    assert run["samples"] == STEPS * 8
    assert run["device"] == "cpu" and run["threads"] >= 1


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


def test_a_row_that_fails_does_not_lose_the_others(small_world, flags, tmp_path):
    """One does not fit, which shows before anything is trained; one has a loss that is not finite."""
    said = []
    methods = ("lora", "vpt:optimiser.lr=1e30,optimiser.clip_norm=none", "adapter:per_modality=true")
    steps = Steps()
    result = call(small_world, flags, tmp_path / "out", methods, (1, 2), said=said, reporter=steps)
    assert not result["finished"]
    assert [run["status"] for run in result["runs"]] == ["finished", "failed", "failed"] * 2
    assert [row["name"] for row in result["rows"]] == [*methods]
    lora, vpt, adapter = result["rows"]
    assert lora["mAP"]["deviation"] is not None
    assert "The loss became" in vpt["failed"][0]["error"] and "A lower rate" in vpt["failed"][0]["hint"]
    assert [problem["seed"] for problem in adapter["failed"]] == [1, 2]
    assert "settings.per_modality needs multi-modal data" in adapter["failed"][0]["error"]
    assert vpt["parameters"] > 0  # counted before it failed
    assert not (tmp_path / "out" / "adapter-per_modality-true-seed1").exists()
    assert any(sentence.startswith("adapter:per_modality=true failed: ") for sentence in said)


def test_an_unexpected_error_of_one_method_is_told(small_world, flags, tmp_path, monkeypatch):
    from reidtune.methods.vpt import Vpt

    def broken(self, *arguments):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Vpt, "encode", broken)
    result = call(small_world, flags, tmp_path / "out", seeds=(1,))
    assert by_name(result)["lora"]["mAP"] is not None
    assert by_name(result)["vpt"]["failed"][0]["error"] == "ZeroDivisionError: by zero"


def test_bad_data_ends_the_comparison(small_world, flags, tmp_path):
    world = shutil.copytree(small_world, tmp_path / "world")
    for victim in (world / "bounding_box_train").glob("0*.jpg"):
        victim.write_bytes(victim.read_bytes()[:900])
    with pytest.raises(DataError) as stopped:
        call(world, flags, tmp_path / "out", again="reidtune compare Z")
    assert "damaged" in stopped.value.message
    assert stopped.value.hint.endswith("Then go on with: reidtune compare Z")


def test_a_wrong_setting_is_refused_before_anything_is_written(small_world, flags, tmp_path):
    with pytest.raises(
        SettingsError, match=r"^lora:rnk=2: A setting is wrong:\n.*settings\.rnk: unknown setting.*rank"
    ):
        call(small_world, flags, tmp_path / "out", ("vpt", "lora:rnk=2"))
    with pytest.raises(SettingsError, match="The seeds are 1, 1"):
        call(small_world, flags, tmp_path / "out", seeds=(1, 1))
    assert not (tmp_path / "out").exists()


def test_without_a_budget_all_have_that_of_the_first(small_world, flags, tmp_path):
    short, long = tmp_path / "short.toml", tmp_path / "long.toml"
    short.write_text('method = "lora"\n[training]\nepochs = 1\ninstances = 2\n[optimiser]\nwarmup_epochs = 0.0\n')
    long.write_text('method = "bias"\n[training]\nepochs = 9\n[optimiser]\nwarmup_epochs = 2.0\n')
    given = {name: value for name, value in flags.items() if name != "training.steps"}
    recipes = (str(short), str(long))
    result = call(small_world, given, tmp_path / "out", (), (1,), recipes=recipes)
    assert result["budget"]["epochs"] == 1
    assert result["budget"]["from"] == "short"
    rows = by_name(result)
    assert rows["short"]["set_aside"] == {}
    assert rows["long"]["set_aside"] == {"training.epochs": 9, "training.instances": 4}
    from reidtune.config import resolve_config

    config = resolve_config(str(tmp_path / "out" / "long-seed1"), {})
    assert (config.training.epochs, config.training.instances) == (1, 2)
    assert config.optimiser.warmup_epochs == 2.0  # its own


def test_a_join_is_tested_on_each_dataset(small_world, flags, tmp_path):
    other = shutil.copytree(small_world, tmp_path / "other")
    gallery = other / "bounding_box_test"
    for victim in sorted(gallery.glob("0*.jpg"))[:9]:
        victim.unlink()
    result = call((small_world, other), flags, tmp_path / "out", ("bias",), (1, 2))
    assert result["data"]["names"] == [small_world.name, "other"]
    [row] = result["rows"]
    assert [also["data"] for also in row["also"]] == ["other"]
    run = tmp_path / "out" / "bias-seed2"
    there = evaluate_dataset(str(other), run, backbone=flags["backbone.name"])["metrics"]["mAP"]
    assert row["also"][0]["mAP"]["values"][1] == there
    assert row["also"][0]["mAP"]["values"] != row["mAP"]["values"]
    assert read_header(run).data["layout"] == "joined"
