"""Whole trainings on a small world and a small backbone: exact resume, selection, refusals."""

import csv
import signal
from pathlib import Path

import pytest
import torch

from reidtune import load
from reidtune.delta import read_header, verify
from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.training.folder import name_of, start_folder
from reidtune.training.open import open_run
from reidtune.training.state import load_state
from reidtune.training.stop import Interrupted
from tests.training.reporter import InterruptAt, Silent
from tests.training.runs import files, go_on, start

LAST = 24  # steps of the run below: 3 epochs of 8


def test_a_run_leaves_its_files_and_says_what_it_did(whole, small_backbone):
    result, run, reporter = whole
    names = {path.name for path in run.iterdir()}
    assert names == {"recipe.toml", "environment.json", "metrics.csv", "delta.safetensors", "state"}
    assert result["parameters"]["trainable"] == 2 * 2 * 2 * 32 * 8
    assert result["bytes"] == (run / "delta.safetensors").stat().st_size
    assert reporter.steps == reporter.total == LAST
    assert [row["epoch"] for row in reporter.rows] == [0, 1, 2, 3]
    verify(run)
    header = read_header(run)
    assert header.method == "lora"
    assert header.settings["dropout"] == 0.1
    assert header.metrics["mAP"] == max(row["validation mAP"] for row in reporter.rows[1:])
    assert header.data["train"]["identities"] == 7
    with (run / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["epoch"] for row in table] == ["0", "1", "2", "3"]
    assert float(table[1]["loss"]) == pytest.approx(reporter.rows[1]["loss"], rel=1e-5)


def test_training_moves_the_tuner_and_lowers_the_loss(whole, small_backbone):
    _, run, reporter = whole
    assert reporter.rows[-1]["loss"] < reporter.rows[1]["loss"]
    model = load(run, backbone=f"local-dir:{small_backbone.architecture.folder}")
    assert all(value.abs().max() > 0 for value in model.tuner.tensors().values())


def test_validation_identities_are_not_trained_on_and_are_recorded(whole, small_world, flags, tmp_path):
    prepared = open_run(str(small_world), None, flags, output=tmp_path / "x").prepare()
    held = {record.identity for record in prepared.validation}
    assert held
    assert held.isdisjoint({record.identity for record in prepared.train})
    recorded = read_header(whole[1]).data["validation"]
    assert {int(name) for name in recorded["identities"]} == held
    assert held.isdisjoint({record.identity for record in prepared.dataset.query})


@pytest.mark.parametrize(("fraction", "said"), [(0.3, True), (0.0, False)])
def test_a_validation_of_few_identities_says_so(small_world, flags, tmp_path, fraction, said):
    sentences = []
    few = {**flags, "data.validation_fraction": fraction}
    prepared = open_run(str(small_world), None, few, output=tmp_path / "x").prepare(sentences.append)
    count = len({record.identity for record in prepared.validation})
    assert (f"Validation has {count} identities" in " ".join(sentences)) is said


def test_the_same_run_gives_the_same_bytes_also_with_workers(whole, small_world, flags, tmp_path):
    start(small_world, flags | {"training.workers": 2}, tmp_path / "again")
    same, other = files(whole[1]), files(tmp_path / "again")
    assert same["delta.safetensors"] == other["delta.safetensors"]
    assert same["metrics.csv"] == other["metrics.csv"]


@pytest.mark.parametrize("at", [1, 4, 7, LAST])
def test_an_interrupted_run_ends_in_the_same_bytes(whole, small_world, flags, tmp_path, at):
    run = tmp_path / "broken"
    with pytest.raises(Interrupted) as stopped:
        start(small_world, flags, run, InterruptAt(at))
    assert stopped.value.exit_code == 130
    assert f"reidtune train {small_world} --resume {run}" in stopped.value.hint
    assert load_state(run)[0].step == at
    assert not (run / "delta.safetensors").exists()
    go_on(run)
    assert files(run) == files(whole[1])


def test_a_run_stopped_by_sigterm_twice_ends_in_the_same_bytes(whole, small_world, flags, tmp_path):
    run = tmp_path / "broken"
    with pytest.raises(Interrupted) as stopped:
        start(small_world, flags, run, InterruptAt(2, signal.SIGTERM))
    assert stopped.value.exit_code == 143
    with pytest.raises(Interrupted):
        go_on(run, reporter=InterruptAt(5))
    go_on(run)
    assert files(run) == files(whole[1])


def test_resuming_a_finished_run_changes_nothing(whole):
    before = files(whole[1])
    reporter = Silent()
    go_on(whole[1], reporter=reporter)
    assert reporter.steps == 0
    assert files(whole[1]) == before


def test_resuming_a_finished_run_fits_and_keeps_nothing(whole):
    run, said = open_run(None, None, {"training.memory": "1MB", "training.image_cache": "disk"}, resume=whole[1]), []
    assert run.train(run.prepare(), Silent(), said.append)["metrics"]
    assert said == []


def test_a_run_that_goes_on_otherwise_says_so_when_it_stops_again(small_world, flags, tmp_path):
    with pytest.raises(Interrupted):
        start(small_world, flags, tmp_path, InterruptAt(2))
    other = {"training.micro_batch": "4", "training.checkpoint": 1, "training.image_cache": "none"}
    with pytest.raises(Interrupted) as caught:
        go_on(tmp_path, other, InterruptAt(4))
    command = f"--resume {tmp_path} --set training.image_cache=none --checkpoint 1 --micro-batch 4"
    assert caught.value.hint.endswith(command)
    with pytest.raises(Interrupted) as caught:
        go_on(tmp_path, {}, InterruptAt(5))
    assert caught.value.hint.endswith(f"--resume {tmp_path}")


def test_a_resumed_run_refuses_changed_settings_and_names_them(whole):
    with pytest.raises(SettingsError, match=r"these changed: optimiser\.lr, training\.batch_size"):
        open_run(None, None, {"optimiser.lr": 1.0, "training.batch_size": 16}, resume=whole[1])
    open_run(None, None, {"training.workers": 1}, resume=whole[1])  # changes nothing but speed
    with pytest.raises(SettingsError, match="these changed: method"):
        open_run(None, None, {"method": "vpt"}, resume=whole[1])


def test_a_resumed_run_refuses_changed_data(whole, small_world, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(small_world, copy)
    next((copy / "bounding_box_train").glob("*.jpg")).unlink()
    with pytest.raises(SettingsError, match="The data .* is not the one"):
        go_on(whole[1], source=str(copy))


def test_a_broken_image_in_mid_training_keeps_the_state(whole, small_world, flags, tmp_path):
    import shutil

    copy = tmp_path / "copy" / "image"
    shutil.copytree(small_world, copy)
    run = open_run(str(copy), None, flags, output=tmp_path / "run")
    prepared = run.prepare()
    victim = prepared.train[3].path
    good = victim.read_bytes()
    victim.write_bytes(good[: len(good) // 2])  # the header is whole, so only decoding notices
    with pytest.raises(DataError, match=victim.name):
        run.train(prepared, Silent())
    step = load_state(tmp_path / "run")[0].step
    victim.write_bytes(good)
    reporter = Silent()
    go_on(tmp_path / "run", reporter=reporter)
    assert reporter.done == step
    assert files(tmp_path / "run")["delta.safetensors"] == files(whole[1])["delta.safetensors"]


def test_a_loss_that_is_not_finite_stops_with_the_step(small_world, flags, tmp_path):
    with pytest.raises(ReidtuneError, match=r"The loss became (nan|inf) in .* at step \d+") as error:
        start(small_world, flags | {"optimiser.lr": 1e30, "optimiser.clip_norm": "none"}, tmp_path / "run")
    assert "A lower rate is a new run" in error.value.hint


def test_without_validation_the_last_state_is_the_delta(small_world, flags, tmp_path):
    reporter = Silent()
    result = start(small_world, flags | {"data.validation_fraction": 0.0}, tmp_path / "run", reporter)
    assert result["metrics"] == {}
    state = load_state(tmp_path / "run")[2]["tuner"]
    from reidtune.delta import read_tensors

    assert all(torch.equal(state[name], value) for name, value in read_tensors(tmp_path / "run").items())


def test_the_best_epoch_is_kept_and_not_the_last(small_world, flags, tmp_path, monkeypatch):
    """Validation by script: epoch 1 is the best, so the delta is that of a run of one epoch's steps."""
    from reidtune.training import validation as module

    scores = iter([0.1, 0.9, 0.5, 0.4])
    monkeypatch.setattr(module, "validate", lambda *a, **k: {"mAP": next(scores), "rank-1": 0.0, "protocol": "x"})
    result = start(small_world, flags, tmp_path / "run")
    assert result["metrics"]["epoch"] == 1
    assert read_header(tmp_path / "run").metrics["mAP"] == 0.9
    last = load_state(tmp_path / "run")[2]["tuner"]
    from reidtune.delta import read_tensors

    kept = read_tensors(tmp_path / "run")
    assert any(not torch.equal(last[name], kept[name]) for name in kept)


def test_a_run_may_start_from_a_delta(whole, small_world, flags, tmp_path):
    result = start(small_world, flags | {"training.epochs": 1}, tmp_path / "next", init_from=whole[1])
    assert result["start"]["validation mAP"] == pytest.approx(whole[0]["metrics"]["mAP"])
    with pytest.raises(SettingsError, match="is a delta of the method lora, but this run trains vpt"):
        start(
            small_world,
            {k: v for k, v in flags.items() if not k.startswith("settings.")} | {"method": "vpt"},
            tmp_path / "other",
            init_from=whole[1],
        )


def test_an_output_folder_in_use_is_refused_and_force_replaces_the_run(whole, small_world, flags):
    run = whole[1]
    (run / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="is not empty") as error:
        open_run(str(small_world), None, flags, output=run)
    assert "--force" in error.value.hint
    assert f"--resume {run}" in error.value.hint
    start(small_world, flags | {"seed": 2, "training.epochs": 1}, run, force=True)
    assert (run / "notes.txt").read_text() == "mine"
    assert "seed = 2" in (run / "recipe.toml").read_text()


def test_the_saved_recipe_reproduces_the_run(whole, small_world, tmp_path):
    run = open_run(str(small_world), str(whole[1] / "recipe.toml"), {}, output=tmp_path / "again")
    run.train(run.prepare(), Silent())
    assert files(tmp_path / "again") == files(whole[1])


def test_every_method_trains_and_comes_back(small_world, flags, tmp_path, small_backbone):
    common = {k: v for k, v in flags.items() if not k.startswith("settings.")} | {"training.steps": 2}
    for name in ("vpt", "adapter", "full"):
        start(small_world, common | {"method": name}, tmp_path / name)
        model = load(tmp_path / name, backbone=f"local-dir:{small_backbone.architecture.folder}")
        assert model.header.method == name


def test_bf16_training_ends_in_a_finite_fp32_delta(small_world, flags, tmp_path):
    result = start(small_world, flags | {"training.precision": "bf16", "training.steps": 2}, tmp_path / "run")
    from reidtune.delta import read_tensors

    tensors = read_tensors(Path(result["delta"]))
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in tensors.values())


def test_the_random_state_of_the_caller_is_kept(small_world, flags, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    start(small_world, flags | {"training.steps": 1}, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_zero_shot_and_other_tasks_are_refused(small_world, flags):
    common = {k: v for k, v in flags.items() if not k.startswith("settings.")}
    with pytest.raises(SettingsError, match="zero-shot has nothing to train"):
        open_run(str(small_world), None, common | {"method": "zero-shot"}, output=Path("x")).prepare()
    with pytest.raises(SettingsError, match="Say what to train on"):
        open_run(None, None, {})


def test_a_folder_called_demo_is_no_demo_world(small_world, flags, tmp_path, monkeypatch):
    """The word means the demo world, whatever lies in the working directory."""
    import json

    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo.csv").touch()
    run = open_run("demo", None, {**flags, "backbone.name": "tiny", "backbone.image_size": "auto"}, output=Path("r"))
    start_folder(run.output, run.recipe_text(), run.sources, "cpu", None)
    assert json.loads(Path("r/environment.json").read_text())["data"] == "demo"
    for source, name in (("demo", "demo"), ("demo:text", "demo-text"), ("demo.csv", "demo"), ("demos:x", "demos-x")):
        assert name_of([source]) == name
