"""The commands as a newcomer runs them: what they print, what they leave, what --json promises."""

import json
import signal

import pytest

from reidtune.cli.app import run
from tests.cli.signalled import signalled


@pytest.fixture
def backbone(small_backbone):
    return f"--backbone=local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def trained(capsys, small_world, options, tmp_path):
    arguments = ["train", str(small_world), *options, "--steps=3", "--output", str(tmp_path / "run"), "--json"]
    assert run(arguments) == 0
    return tmp_path / "run", json.loads(capsys.readouterr().out)


def printed_json(capsys, arguments):
    assert run([str(argument) for argument in arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return json.loads(printed.out)


def test_train_json(trained):
    folder, result = trained
    assert set(result) >= {"schema", "run", "delta", "parameters", "bytes", "seconds", "metrics"}
    assert result["schema"] == 1
    assert result["run"] == str(folder)
    assert set(result["parameters"]) == {"trainable", "backbone"}
    assert 0 <= result["metrics"]["mAP"] <= 1


def test_train_on_a_pipe_prints_lines_and_no_bar(capsys, small_world, options, tmp_path):
    assert run(["train", str(small_world), *options, "--steps=9", "--output", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert "Market-1501 names: 7 train identities" in printed.err
    assert [line.split()[1] for line in printed.err.splitlines() if line.startswith("epoch")] == ["1", "2"]
    assert "Training" not in printed.err
    assert "Evaluate it: reidtune evaluate" in printed.out
    assert printed.out.splitlines()[0].split()[0] == "delta"


def test_train_quiet_prints_the_result_alone(capsys, small_world, options, tmp_path):
    assert run(["train", str(small_world), *options, "--steps=1", "--output", str(tmp_path / "run"), "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_dry_run_writes_nothing(capsys, small_world, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = printed_json(capsys, ["train", small_world, *options, "--dry-run", "--json"])
    assert set(plan) >= {"schema", "data", "parameters", "bytes", "memory"}
    assert plan["memory"]["activation_bytes_per_image"] > 0
    assert run(["train", str(small_world), *options, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "2,048 parameters" in text
    assert "autograd keeps" in text
    assert list(tmp_path.iterdir()) == []


def test_print_config_is_a_recipe_with_origins(capsys, small_world, options, tmp_path):
    import tomllib

    assert run(["train", str(small_world), *options, "--lr=0.25", "--print-config"]) == 0
    text = capsys.readouterr().out
    assert tomllib.loads(text)["optimiser"]["lr"] == 0.25
    assert any(line.startswith("lr = 0.25") and line.endswith("[flag]") for line in text.splitlines())


def test_the_default_output_folder_is_named_after_method_and_data(capsys, small_world, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(small_world), *options, "--steps=1", "-q"]) == 0
    assert (tmp_path / "runs" / "lora-image" / "delta.safetensors").is_file()


def test_evaluate_json_and_the_file_beside_the_delta(capsys, small_world, trained, backbone, tmp_path):
    folder, _ = trained
    output = tmp_path / "out.json"
    result = printed_json(capsys, ["evaluate", small_world, "--delta", folder, backbone, "--json", "--output", output])
    assert json.loads(output.read_text()) == result
    assert json.loads((folder / "evaluate.json").read_text()) == result
    assert result["schema"] == 1
    assert (result["task"], result["layout"], result["protocol"]) == ("image", "market1501", "cross-camera")
    assert set(result["metrics"]) == {"rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP"}
    assert result["queries"] == {"total": 17, "skipped": 0}
    assert result["gallery"] == {"total": 64, "ignored": 5}
    assert set(result["backbone"]) == {"name", "pretrained", "fingerprint"}
    assert result["delta"]["method"] == "lora"
    assert result["delta"]["digest"]


def test_eval_is_an_alias_and_zero_shot_needs_no_delta(capsys, small_world, backbone):
    result = printed_json(capsys, ["eval", small_world, backbone, "--image-size", "32x16", "--json"])
    assert result["delta"] is None


def test_a_delta_loads_its_own_image_size_and_gives_the_validated_model(capsys, small_world, trained, backbone):
    """A neutral check that evaluate uses the tuner: the delta's numbers are not those of the backbone alone."""
    folder, _ = trained
    both = printed_json(capsys, ["evaluate", small_world, "--delta", "none", "--delta", folder, backbone, "--json"])
    untuned, tuned = both["results"]
    assert untuned["delta"] is None
    assert tuned["metrics"] != untuned["metrics"]
    assert untuned["backbone"] == tuned["backbone"]  # image size included, though nobody gave one
    alone = printed_json(capsys, ["evaluate", small_world, backbone, "--image-size", "32x16", "--json"])
    assert untuned["metrics"] == alone["metrics"]


def test_evaluate_draws_ranked_lists(capsys, small_world, trained, backbone, tmp_path):
    from PIL import Image

    picture = tmp_path / "lists.png"
    arguments = ["evaluate", str(small_world), "--delta", str(trained[0]), backbone, "--sheet", str(picture)]
    assert run(arguments) == 0
    assert Image.open(picture).width > 11 * 40
    tuned = picture.read_bytes()
    assert run([*arguments, "--delta", "none"]) == 0  # the last one is drawn
    assert picture.read_bytes() != tuned


def test_a_read_only_folder_of_deltas_is_no_reason_to_lose_the_numbers(
    capsys, small_world, trained, backbone, monkeypatch
):
    from reidtune.errors import ReidtuneError
    from reidtune.report import output

    def refuse(result, path):
        raise ReidtuneError(f"{path} could not be written: Read-only file system.")

    monkeypatch.setattr(output, "write_result", refuse)
    assert run(["evaluate", str(small_world), "--delta", str(trained[0]), backbone]) == 0
    printed = capsys.readouterr()
    assert "rank-1" in printed.out
    assert "Read-only file system" in printed.err


def test_export_and_load_in_plain_open_clip(capsys, trained, backbone, tmp_path):
    import open_clip

    merged = tmp_path / "merged"
    result = printed_json(capsys, ["export", trained[0], "--output", merged, backbone, "--json"])
    assert result["largest_difference"] < 1e-5
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{merged}")
    assert tuple(model.visual.image_size) == (32, 16)


def test_demo_writes_three_layouts_and_never_overwrites(capsys, tmp_path):
    result = printed_json(capsys, ["demo", tmp_path / "world", "--identities", "4", "--json"])
    assert set(result["folders"]) == {"image", "text", "multimodal"}
    assert (tmp_path / "world" / "text" / "reid_raw.json").is_file()
    assert run(["demo", str(tmp_path / "world"), "--identities", "4"]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_prints_how_to_go_on(small_world, options, tmp_path, number, code):
    output = tmp_path / "run"
    words = ["train", str(small_world), *options, "--steps=100000"]
    words += ["--output", str(output), "--set", "training.validate_every=100000"]
    returned, out, err = signalled(words, output / "metrics.csv", number)
    assert returned == code
    assert f"reidtune train {small_world} --resume {output}" in " ".join(err.split())
    assert "Traceback" not in err
    assert out == ""
    assert (output / "state" / "last.pt").is_file()


def test_the_demo_word_runs_offline_with_the_tiny_backbone(capsys, tmp_path):
    result = printed_json(capsys, ["evaluate", "demo", "--json"])
    assert result["backbone"]["name"] == "tiny"
    assert result["queries"]["total"] == 142
    # An untuned backbone is better than chance and clearly poor (CHANGELOG has the figure of each release).
    assert 0.2 < result["metrics"]["rank-1"] < 0.5
