"""Evaluating from Python: what the result says, and that files are written whole or not at all."""

import errno
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from reidtune.data import open_dataset
from reidtune.delta import read_header, write_delta
from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.evaluation import check_output, check_sheet, evaluate_dataset, result_beside, write_result
from reidtune.methods.registry import find_method


@pytest.fixture
def name(small_backbone):
    return f"local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def delta(small_backbone, header_for, tmp_path):
    """A delta of LoRA that is far from neutral."""
    page = find_method("lora")
    method = page(page.Settings())
    tuner = method.tuner(small_backbone)
    with torch.no_grad():
        for parameter in tuner.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    write_delta(tmp_path / "d.safetensors", tuner.tensors(), header_for(method, small_backbone))
    return tmp_path / "d.safetensors"


def test_the_result_says_data_backbone_delta_and_progress(small_world, delta, name):
    seen, said = [], []
    result = evaluate_dataset(
        str(small_world), delta, backbone=name, say=said.append, progress=lambda *count: seen.append(count)
    )
    header = read_header(delta)
    assert result["delta"] == {
        "path": str(delta),
        "method": "lora",
        "digest": header.digest,
        "parameters": header.parameters,
    }
    assert result["backbone"]["fingerprint"] == header.backbone["fingerprint"]["digest"]
    assert result["data"]["hash"] == open_dataset(small_world).manifest()["hash"]
    assert result["skipped_examples"] == []
    assert seen == [(64, 86), (86, 86)]  # 17 queries and 69 gallery images, 64 at a time
    assert [sentence.split(":")[0] for sentence in said] == ["Market-1501 names"]


def test_untuned_is_the_backbone_alone(small_world, delta, name):
    untuned = evaluate_dataset(str(small_world), delta, backbone=name, untuned=True)
    alone = evaluate_dataset(str(small_world), backbone=name)
    tuned = evaluate_dataset(str(small_world), delta, backbone=name)
    assert untuned == alone
    assert tuned["metrics"] != alone["metrics"]


def test_a_protocol_changes_what_is_ignored(small_world, name):
    market = evaluate_dataset(str(small_world), backbone=name)
    everything = evaluate_dataset(str(small_world), backbone=name, protocol="all")
    assert (market["protocol"], everything["protocol"]) == ("cross-camera", "all")
    # With the query's own camera in the gallery the nearest image is easier to find.
    assert everything["metrics"]["rank-1"] > market["metrics"]["rank-1"]


def test_settings_are_said_before_the_data_is_read(small_world, delta, name):
    missing = str(small_world / "nowhere")
    for wrong in ({"device": "gpu"}, {"image_size": "12"}, {"delta": delta, "image_size": "32x16"}):
        with pytest.raises(SettingsError):
            evaluate_dataset(missing, backbone=name, **wrong)
    with pytest.raises(DataError):
        evaluate_dataset(missing, backbone=name)


def test_the_file_beside_a_delta(delta, tmp_path):
    assert result_beside(delta) == tmp_path / "d.evaluate.json"
    run = tmp_path / "run"
    run.mkdir()
    delta.rename(run / "delta.safetensors")
    (run / "recipe.toml").write_text("")
    assert result_beside(run) == run / "evaluate.json"
    with pytest.raises(SettingsError, match="no delta"):
        result_beside(tmp_path)


def test_a_result_that_cannot_be_written_leaves_the_earlier_one(tmp_path, monkeypatch):
    target = tmp_path / "new" / "result.json"
    write_result({"a": 1}, target)
    assert json.loads(target.read_text()) == {"a": 1}

    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ReidtuneError, match="result.json could not be written: No space left on device"):
        write_result({"a": 2}, target)
    assert json.loads(target.read_text()) == {"a": 1}
    assert [path.name for path in target.parent.iterdir()] == ["result.json"]


def test_outputs_are_checked_before_an_evaluation(tmp_path):
    check_output(tmp_path / "a.json", force=False)
    check_sheet(tmp_path / "a.PNG")
    with pytest.raises(SettingsError, match="is a folder"):
        check_output(tmp_path, force=True)
    with pytest.raises(SettingsError, match="is a folder"):
        check_sheet(tmp_path)
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(SettingsError, match="exists"):
        check_output(tmp_path / "a.json", force=False)
    check_output(tmp_path / "a.json", force=True)
    for ending in (".safetensors", "", ".psd"):  # Pillow reads the last, and writes none of them
        with pytest.raises(SettingsError, match="no kind of picture"):
            check_sheet(tmp_path / f"lists{ending}")


def test_a_sheet_has_a_row_a_query(small_world, name, tmp_path):
    evaluate_dataset(str(small_world), backbone=name, sheet=tmp_path / "lists.png")
    picture = Image.open(tmp_path / "lists.png")
    assert picture.height > 6 * 128
    assert len(picture.getcolors(maxcolors=1 << 24)) > 1000
