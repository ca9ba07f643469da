"""``reidtune export``: a folder that others can read, never in place of something else."""

import json
import re
import stat

import open_clip
import pytest
import torch
from PIL import Image

import reidtune
from reidtune.cli.app import run
from reidtune.export import formats


@pytest.fixture(scope="module")
def backbone(small_backbone):
    return f"local-dir:{small_backbone.architecture.folder}"


@pytest.fixture(scope="module")
def trained(small_world, backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    options = ["--image-size=64x16", "--batch-size=8", "--workers=0", "--steps=3", "--lr=0.1"]
    arguments = ["train", str(small_world), f"--backbone={backbone}", *options, "--output", str(folder), "-q"]
    assert run(arguments) == 0
    return folder


def test_the_printed_line_loads_the_tuned_model(capsys, small_world, trained, backbone, tmp_path):
    """Also from a folder of an awkward name, at another image size than the backbone's own, on a file of the data."""
    merged = tmp_path / "my [red] model"
    assert run(["export", str(trained), "--output", str(merged), f"--backbone={backbone}"]) == 0
    wrote, load_it = capsys.readouterr().out.splitlines()
    assert wrote.startswith(f"Wrote {merged}; its features differ")
    name = re.fullmatch(r'Load it: open_clip\.create_model_and_transforms\("(.+)"\)', load_it)[1]
    plain, _, preprocess = open_clip.create_model_and_transforms(name)
    file = min((small_world / "query").glob("*.jpg"))
    with torch.no_grad():
        theirs = plain.eval().encode_image(preprocess(Image.open(file))[None], normalize=True)
        words = plain.encode_text(open_clip.get_tokenizer(name)(["a red coat"]), normalize=True)
    model = reidtune.load(trained, backbone=backbone)
    assert torch.allclose(theirs, model.embed_images([file]), atol=1e-5)
    assert torch.allclose(words, model.embed_texts(["a red coat"]), atol=1e-5)
    untuned = reidtune.load(backbone=backbone, image_size=(64, 16)).embed_images([file])
    assert not torch.allclose(theirs, untuned, atol=1e-3)


def test_others_may_read_what_was_exported(trained, backbone, tmp_path):
    merged = tmp_path / "merged"
    assert run(["export", str(trained), "--output", str(merged), f"--backbone={backbone}", "--json"]) == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in merged.iterdir()}
    assert len(modes) == 2
    assert len(set(modes.values())) == 1, modes


def test_a_folder_in_use(capsys, trained, backbone, tmp_path):
    merged = tmp_path / "merged"
    arguments = ["export", str(trained), "--output", str(merged), f"--backbone={backbone}"]
    assert run(arguments) == 0
    assert run(arguments) == 2
    assert "exists. Choose another --output, or add --force" in " ".join(capsys.readouterr().err.split())
    assert run([*arguments, "--force", "--json"]) == 0
    printed = capsys.readouterr().out
    assert set(json.loads(printed[printed.index("{") :])) == {"schema", "path", "bytes", "largest_difference"}


def test_a_run_folder_is_never_replaced(capsys, trained, backbone):
    before = (trained / "delta.safetensors").read_bytes()
    assert run(["export", str(trained), "--output", str(trained), f"--backbone={backbone}", "--force"]) == 2
    assert "holds other things than an export" in capsys.readouterr().err
    assert (trained / "delta.safetensors").read_bytes() == before


def test_a_folder_that_cannot_be_written(capsys, trained, backbone, tmp_path):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "merged"
    assert run(["export", str(trained), "--output", str(output), f"--backbone={backbone}"]) == 1
    assert "could not be written" in capsys.readouterr().err


def test_an_unknown_format_is_said_before_anything_is_loaded(capsys, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "load", lambda *args, **kwargs: pytest.fail("loaded"))
    assert run(["export", str(trained), "--output", str(tmp_path / "x"), "--to", "openclip"]) == 2
    assert 'Did you mean "open_clip"?' in capsys.readouterr().err


def test_a_smaller_delta_says_what_it_costs(capsys, small_world, small_backbone, tmp_path):
    backbone = f"--backbone=local-dir:{small_backbone.architecture.folder}"
    run_folder, small = tmp_path / "run", tmp_path / "small.safetensors"
    train = ["train", str(small_world), "--method=full", backbone, "--image-size=32x16", "--batch-size=8", "--steps=2"]
    assert run([*train, "--workers=0", "--output", str(run_folder), "--json"]) == 0
    capsys.readouterr()
    export = ["export", str(run_folder), "--to=low-rank", "--rank=1", "--output", str(small), backbone]
    assert run([*export, "--data", str(small_world), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bytes"] == small.stat().st_size < result["bytes_before"]
    assert 0 < result["relative_error"] < 1
    assert set(result["evaluated"]["before"]) == set(result["evaluated"]["after"]) >= {"rank-1", "mAP"}
    assert run([*export]) == 2  # it exists
    assert run(["export", str(run_folder), "--to=half", "--output", str(tmp_path / "half.safetensors")]) == 0
    printed = capsys.readouterr()
    assert "of the delta's norm is lost" in printed.out
    assert run(["export", str(run_folder), "--data", str(small_world), "--output", str(tmp_path / "x"), backbone]) == 2


def test_deltas_of_samples(capsys, spectral_world, small_backbone, multimodal_delta, tmp_path):
    backbone = f"--backbone=local-dir:{small_backbone.architecture.folder}"
    shared, each = multimodal_delta("lora"), multimodal_delta("lora", ("rgb", "nir"), per_modality=True)
    assert run(["export", str(shared), "--output", str(tmp_path / "merged"), backbone]) == 0
    assert "side by side, in the order rgb, nir, tir" in capsys.readouterr().out
    assert run(["export", str(each), "--output", str(tmp_path / "other"), backbone]) == 2
    assert "has parts of its own for each of rgb, nir (per_modality)" in capsys.readouterr().err
    half = tmp_path / "half.safetensors"
    measured = ["--data", str(spectral_world), "--json"]
    assert run(["export", str(shared), "--to=half", "--output", str(half), backbone, *measured]) == 0
    result = json.loads(capsys.readouterr().out)
    before, after = (result["evaluated"][when]["mAP"] for when in ("before", "after"))
    assert 0 < before == pytest.approx(after, abs=0.01)
