"""``reidtune evaluate``: several models, output files, and numbers that are never lost."""

import json
import shutil

import pytest

from reidtune.cli.app import run


@pytest.fixture(scope="module")
def backbone(small_backbone):
    return f"--backbone=local-dir:{small_backbone.architecture.folder}"


@pytest.fixture(scope="module")
def donor(small_world, backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("donor") / "run"
    options = [backbone, "--image-size=32x16", "--batch-size=8", "--workers=0", "--steps=2"]
    assert run(["train", str(small_world), *options, "--output", str(folder), "-q"]) == 0
    return folder


@pytest.fixture
def trained(donor, tmp_path):
    return shutil.copytree(donor, tmp_path / "run")


@pytest.fixture
def evaluate(capsys, small_world, backbone):
    """Run the command; returns code, stdout and stderr (its lines joined)."""

    def call(*arguments):
        code = run(["evaluate", str(small_world), backbone, *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, " ".join(printed.err.split())

    return call


def test_several_models_are_rows_of_one_table(evaluate, trained):
    shutil.copytree(trained, trained.parent / "other")
    code, out, err = evaluate("--delta", "none", "--delta", trained, "--delta", trained.parent / "other")
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()[2:5]] == ["none (zero-shot)", "lora (run)", "lora (other)"]
    assert err.count("Market-1501 names") == 1  # the data is said once
    assert max(map(len, out.splitlines())) <= 80


def test_several_models_as_json(evaluate, trained):
    code, out, _ = evaluate("--delta", trained, "--delta", "none", "--json")
    assert code == 0
    printed = json.loads(out)
    assert set(printed) == {"schema", "results"}
    assert [result["delta"] and result["delta"]["method"] for result in printed["results"]] == ["lora", None]


def test_a_file_is_replaced_only_with_force(evaluate, tmp_path):
    target = tmp_path / "result.json"
    target.write_text("mine")
    code, out, err = evaluate("--output", target)
    assert (code, out) == (2, "")
    assert "exists. Choose another file, or replace it with --force." in err
    assert target.read_text() == "mine"
    assert evaluate("--output", target, "--force")[0] == 0
    assert json.loads(target.read_text())["schema"] == 1


def test_outputs_that_cannot_be_are_refused_before_the_work(evaluate, tmp_path):
    for flag, path, sentence in (
        ("--output", tmp_path, "is a folder"),
        ("--sheet", tmp_path, "is a folder"),
        ("--sheet", tmp_path / "lists.safetensors", "no kind of picture"),
    ):
        code, out, err = evaluate(flag, path)
        assert (code, out) == (2, "")
        assert sentence in err
        assert "Market-1501" not in err  # nothing was opened yet


def test_numbers_are_printed_also_where_the_file_cannot_be_written(evaluate, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    code, out, err = evaluate("--output", tmp_path / "file" / "result.json")
    assert code == 1
    assert "rank-1" in out
    assert "result.json could not be written" in err
    code, out, _ = evaluate("--output", tmp_path / "file" / "result.json", "--json")
    assert code == 1
    assert json.loads(out)["schema"] == 1


def test_a_wrong_delta_is_said_before_another_is_evaluated(evaluate, trained, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((trained / "delta.safetensors").read_bytes()[:200])
    for wrong, wanted in ((tmp_path / "nope", 2), (damaged, 3)):
        code, out, err = evaluate("--delta", trained, "--delta", wrong)
        assert (code, out) == (wanted, "")
        assert wrong.name in err
        assert not (trained / "evaluate.json").exists()


def test_with_json_a_folder_that_cannot_be_written_is_still_said(evaluate, trained):
    (trained / "evaluate.json").mkdir()
    code, out, err = evaluate("--delta", trained, "--json")
    assert code == 0
    assert json.loads(out)["delta"]["method"] == "lora"
    assert "evaluate.json could not be written" in err


def test_usage_is_2(evaluate):
    for arguments in (["--batch-size", "0"], ["--workers", "-1"], ["--image-size", "big"], ["--device", "gpu"]):
        code, out, err = evaluate(*arguments)
        assert (code, out) == (2, "")
        assert "Error" in err


@pytest.fixture(scope="module")
def text_world(tmp_path_factory):
    """The text part of a demo world of 12 people, in CUHK-PEDES' layout."""
    from reidtune.demo.world import render_world

    folder = tmp_path_factory.mktemp("text-world")
    render_world(folder, identities=12, kinds=("text",))
    return str(folder / "text")


def test_text_data_has_a_row_a_direction_also_for_a_delta_of_images(text_world, backbone, trained, tmp_path, capsys):
    sheet, saved = tmp_path / "captions.png", tmp_path / "result.json"
    options = ["--delta", "none", "--delta", str(trained), "--sheet", str(sheet), "--output", str(saved)]
    assert run(["evaluate", text_world, backbone, *options]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split("  ")[0] for line in lines[2:6:2]] == ["none (zero-shot)", "lora (run)"]
    for kind, line in zip(["text to image", "image to text"] * 2, lines[2:6], strict=True):
        assert kind in line
    assert max(map(len, lines)) <= 80
    results = json.loads(saved.read_text())["results"]
    for result in results:
        assert (result["task"], result["protocol"]) == ("text", "cross-modality")
        assert result["image_to_text"]["queries"]["total"] == result["gallery"]["total"]
        assert result["image_to_text"]["gallery"]["total"] == result["queries"]["total"]
    assert sheet.stat().st_size > 10_000
    assert json.loads((trained / "evaluate.json").read_text()) == results[1]


def test_the_images_of_text_data_alone(text_world, backbone, capsys):
    assert run(["evaluate", text_world, backbone, "--task", "image", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["task"], result["protocol"]) == ("image", "leave-one-out")
    assert run(["evaluate", text_world, backbone, "--task", "texts"]) == 2
    assert 'Did you mean "text"' in capsys.readouterr().err


def test_more_data_is_a_table_of_deltas_and_datasets(evaluate, trained, tmp_path, small_world):
    table = tmp_path / "all.csv"
    lines = [f"{path},{path.name[:4]},test" for path in sorted((small_world / "query").glob("*.jpg"))]
    table.write_text("\n".join(["path,identity,split", *lines]) + "\n")
    code, out, _ = evaluate("--data", table, "--delta", "none", "--delta", trained)
    assert code == 0
    assert next(line.split() for line in out.splitlines() if "all.csv" in line) == [small_world.name, "all.csv"]
    kept = json.loads((trained / "evaluate.json").read_text())["results"]
    assert [result["data"]["name"] for result in kept] == [small_world.name, "all.csv"]
    code, out, _ = evaluate("--data", table, "--delta", "none", "--delta", trained, "--json")
    results = json.loads(out)["results"]
    assert [(result["data"]["name"], result["delta"] is None) for result in results] == [
        (small_world.name, True),
        ("all.csv", True),
        (small_world.name, False),
        ("all.csv", False),
    ]
    assert results[2:] == kept
