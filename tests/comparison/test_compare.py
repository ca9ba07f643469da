"""Whole comparisons on a small world and a small backbone: numbers, budget, failures."""

import json
import shutil
import statistics
from pathlib import Path

import pytest

from reidtune.delta import read_file, read_header
from reidtune.errors import DataError, SettingsError
from reidtune.evaluation import evaluate_dataset
from reidtune.training.open import open_run
from reidtune.training.plan import dry_run
from tests.comparison.comparing import STEPS, Steps, by_name, call
from tests.training.reporter import Silent


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
