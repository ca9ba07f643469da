"""``reidtune embed``: what it writes, that evaluating it gives the very numbers of ``evaluate DATA``, exit codes."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from reidtune.cli.app import run
from reidtune.model import load


@pytest.fixture(scope="module")
def backbone(small_backbone):
    return f"--backbone=local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    names = ["b.png", "a.png", "deep/c.png", "deep/er/d, e.png", "e é 人.png", os.fsdecode(b"f\xff.png")]
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = bytes((number * 37 + place * (number + 3)) % 256 for place in range(20 * 40 * 3))
        Image.frombytes("RGB", (20, 40), pixels).save(path, "PNG")
    return folder


@pytest.fixture
def embed(capsys, backbone, tmp_path):
    """Run the command; returns code, stdout and stderr (its lines joined)."""

    def call(*arguments, output=tmp_path / "features.npy"):
        code = run(["embed", *map(str, arguments), backbone, "--output", str(output)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, " ".join(printed.err.split())

    return call


@pytest.fixture
def both_ways(capsys, embed, backbone, tmp_path):
    """JSON of ``evaluate DATA`` and of ``embed DATA`` with ``evaluate --features``."""

    def call(data, *options, protocol=()):
        def evaluate(*arguments):
            assert run(["evaluate", *map(str, arguments), *protocol, "--json"]) == 0
            return json.loads(capsys.readouterr().out)

        code, out, err = embed(data, *options, "--force")
        assert code == 0, err
        files = ["--features", tmp_path / "features.npy", "--labels", tmp_path / "features.csv"]
        return evaluate(data, backbone, *options), evaluate(*files)

    return call


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def same_numbers(one, other):
    """Bit for bit."""
    keys = ("task", "protocol", "tie_rule", "metrics", "queries", "gallery")
    assert {key: one[key] for key in keys} == {key: other[key] for key in keys}


def test_any_folder(embed, photos, small_backbone, tmp_path):
    code, out, err = embed(photos, "--batch-size", 2, "--json")
    assert (code, err) == (0, "")
    paths = [row["path"] for row in table(tmp_path / "features.csv")]
    assert paths == ["a.png", "b.png", "deep/c.png", "deep/er/d, e.png", "e é 人.png", "f\\xff.png"]
    features = np.load(tmp_path / "features.npy")
    assert features.dtype == np.float32
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    model = load(backbone=f"local-dir:{small_backbone.architecture.folder}")
    files = [photos / path for path in paths[:5]] + [photos / os.fsdecode(b"f\xff.png")]
    assert np.allclose(features, model.embed_images(files).numpy(), atol=1e-6)
    result = json.loads(out)
    assert result["schema"] == 1
    assert (result["shape"], result["dtype"]) == ([6, 24], "float32")
    assert (result["output"], result["table"]) == (str(tmp_path / "features.npy"), str(tmp_path / "features.csv"))
    assert result["counts"] == {"rows": 6, "broken": 0}
    assert result["layout"] is None and result["delta"] is None
    assert result["backbone"]["fingerprint"] == small_backbone.fingerprint["digest"]
    assert result["preprocess"]["height"] == 32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.csv", "features.npy", "photos"]


def test_the_round_trip_gives_the_same_bits(both_ways, small_world):
    straight, files = both_ways(small_world, "--batch-size", 8)
    same_numbers(straight, files)
    assert files["gallery"] == {"total": 64, "ignored": 5}
    assert (files["backbone"], files["delta"], files["layout"]) == (None, None, "features")
    assert files["features"]["dimensions"] == 24
    assert list(straight) == [key for key in files if key != "features"]  # the same object otherwise


def test_the_round_trip_of_one_set_and_of_samples(both_ways, small_world, spectral_world, tmp_path):
    folder = tmp_path / "identities"
    for file in sorted((small_world / "bounding_box_test").glob("00*.jpg")):
        target = folder / file.name[:4] / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    straight, files = both_ways(folder, "--layout", "folder")
    same_numbers(straight, files)
    assert files["protocol"] == "leave-one-out"
    victim = next((spectral_world / "test" / "NI").rglob("*.jpg"))
    copy = shutil.copytree(spectral_world, tmp_path / "samples")
    (copy / victim.relative_to(spectral_world)).unlink()  # so that a sample lacks a modality
    straight, files = both_ways(copy)
    same_numbers(straight, files)
    assert files["modalities"] == straight["modalities"]
    rows = table(tmp_path / "features.csv")
    assert {"path_rgb", "path_nir", "path_tir"} <= set(rows[0])
    assert sum(not row["path_nir"] for row in rows) == 1


def test_a_folder_of_folders_is_no_dataset_unasked(embed, small_world, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "people" / name).mkdir(parents=True)
        shutil.copy(next((small_world / "query").iterdir()), tmp_path / "people" / name / "x.jpg")
    assert embed(tmp_path / "people")[0] == 0
    assert list(table(tmp_path / "features.csv")[0]) == ["path"]
    code, out, err = embed(tmp_path / "people", "--layout", "folder", "--force")
    assert (code, [row["identity"] for row in table(tmp_path / "features.csv")]) == (0, ["one", "two"])
    code, out, err = embed(small_world, "--layout", "none", "--force", "--json")
    assert json.loads(out)["layout"] is None
    assert list(table(tmp_path / "features.csv")[0]) == ["path"]


def test_splits(embed, small_world, tmp_path):
    code, out, err = embed(small_world, "--json")
    counts = json.loads(out)["counts"]
    assert counts == {
        "rows": 17 + 69 + counts["train"],
        "query": 17,
        "gallery": 69,
        "train": counts["train"],
        "broken": 0,
    }
    whole = np.load(tmp_path / "features.npy")
    code, out, err = embed(small_world, "--split", "test", "--force", "--json")
    assert json.loads(out)["counts"] == {"rows": 86, "query": 17, "gallery": 69, "broken": 0}
    assert np.array_equal(np.load(tmp_path / "features.npy"), whole[:86])  # whatever else is embedded
    rows = table(tmp_path / "features.csv")
    assert [row["split"] for row in rows] == ["query"] * 17 + ["gallery"] * 69
    first = rows[0]
    assert first["path"].startswith(f"query/{int(first['identity']):04d}_c{first['camera']}")
    assert "-1" in {row["identity"] for row in rows}
    assert embed(small_world, "--split", "tset", "--force")[0] == 2
    code, out, err = embed(small_world / "query", "--split", "train", "--force")
    assert code == 4
    assert "nothing of the split train" in err


def test_the_command_that_is_printed_evaluates_what_was_written(embed, capsys, small_world, photos, tmp_path):
    from reidtune.demo.world import render_world

    render_world(tmp_path / "world", identities=4, kinds=("text",))
    for data, protocol in ((small_world, "cross-camera"), (tmp_path / "world" / "text", "leave-one-out")):
        code, out, err = embed(data, "--force")
        command = out.splitlines()[-1].partition("Evaluate them: reidtune ")[2]
        assert command.endswith(f"--protocol {protocol}")
        assert run(command.split()) == 0
        assert f"features, {protocol}:" in capsys.readouterr().out
    for arguments in ([small_world, "--split", "train"], [small_world, "--split", "query"], [photos]):
        assert "Evaluate" not in embed(*arguments, "--force")[1]


def test_lines_of_text(embed, small_backbone, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("\ufeffa red coat\r\n\n  a bag, blue\na red coat\n", encoding="utf-8")
    code, out, err = embed("--text", captions, "--batch-size", 1, "--json")
    assert (code, json.loads(out)["counts"]) == (0, {"rows": 3, "broken": 0})
    rows = table(tmp_path / "features.csv")
    assert [tuple(row.values()) for row in rows] == [("1", "a red coat"), ("3", "a bag, blue"), ("4", "a red coat")]
    features = np.load(tmp_path / "features.npy")
    model = load(backbone=f"local-dir:{small_backbone.architecture.folder}")
    assert np.allclose(features, model.embed_texts([row["caption"] for row in rows]).numpy(), atol=1e-6)
    assert np.array_equal(features[0], features[2])
    captions.write_bytes(b"good\nb\xff\n")
    code, out, err = embed("--text", captions, "--force")
    assert code == 4
    assert 'captions.txt", line 2: not UTF-8' in err
    captions.write_text("\n \n")
    assert embed("--text", captions, "--force")[0] == 4
    assert embed("--text", tmp_path / "nowhere.txt", "--force")[0] == 4


def test_broken_images(embed, photos, tmp_path):
    (photos / "empty.png").touch()
    cut = photos / "deep" / "c.png"
    noise = np.random.default_rng(0).integers(0, 256, (80, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(cut)
    code, out, err = embed(photos)
    assert (code, out) == (4, "")
    assert 'empty.png" is empty' in err and "--skip-broken" in err
    assert not list(tmp_path.glob("*features*"))
    (photos / "empty.png").unlink()
    cut.write_bytes(cut.read_bytes()[:5000])  # the header is whole
    code, out, err = embed(photos, "--batch-size", 2)
    assert code == 4
    assert 'c.png" is damaged' in err and "--skip-broken" in err
    assert not list(tmp_path.glob("*features*")) + list(tmp_path.glob(".*"))
    (photos / "empty.png").touch()
    for size in (1, 3, 64):
        code, out, err = embed(photos, "--batch-size", size, "--skip-broken", "--force")
        assert code == 0
        assert "they cannot be read: 2 images" in err and "empty.png" in err and "c.png" in err
        assert [row["path"] for row in table(tmp_path / "features.csv")][:3] == ["a.png", "b.png", "deep/er/d, e.png"]
        assert len(np.load(tmp_path / "features.npy")) == 5
    for file in photos.rglob("*.png"):
        file.write_bytes(b"")
    code, out, err = embed(photos, "--skip-broken", "--force")
    assert code == 4
    assert len(np.load(tmp_path / "features.npy")) == 5  # the earlier one


def test_nothing_is_replaced_unasked(embed, photos, tmp_path):
    target = tmp_path / "out" / "mine.npy"
    assert embed(photos, output=target)[0] == 0
    before = target.read_bytes()
    code, out, err = embed(photos, output=target)
    assert (code, out) == (2, "")
    assert "mine.npy exists" in err and "--force" in err
    target.unlink()
    assert "mine.csv exists" in embed(photos, output=target)[2]
    assert embed(photos, "--force", output=target)[0] == 0
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "nothing to embed"),
        (["PHOTOS", "--text", "x.txt"], 2, "Both"),
        (["PHOTOS", "--modality", "nir"], 2, "no modalities"),
        (["PHOTOS", "--split", "test"], 2, "no splits"),
        (["PHOTOS", "--batch-size", "0"], 2, "batch-size"),
        (["PHOTOS", "--delta", "nowhere"], 2, "nowhere"),
        (["PHOTOS", "--layout", "markt1501"], 2, "market1501"),
        (["nowhere"], 4, "nowhere"),
        (["demo:txt"], 2, "demo:text"),
    ],
)
def test_refusals(embed, photos, tmp_path, arguments, code, sentence):
    found, out, err = embed(*[photos if word == "PHOTOS" else word for word in arguments])
    assert (found, out) == (code, "")
    assert sentence in err
    assert not (tmp_path / "features.npy").exists()


def test_an_output_that_cannot_be(embed, photos, tmp_path):
    assert embed(photos, output=tmp_path / "features.safetensors")[0] == 2
    assert embed(photos, output=tmp_path)[0] == 2
    (tmp_path / "file").touch()
    code, out, err = embed(photos, output=tmp_path / "file" / "a.npy")
    assert code == 1
    assert "could not be written" in err


def test_folders_of_modalities(embed, photos, multimodal_delta, tmp_path):
    delta = multimodal_delta()
    folder = tmp_path / "night"
    for name in ("RGB", "NI"):
        shutil.copytree(photos, folder / name)
    (folder / "NI" / "a.png").unlink()
    code, out, err = embed(folder, "--delta", delta, "--json")
    assert code == 0
    result = json.loads(out)
    assert (result["modalities"], result["shape"]) == (["rgb", "nir", "tir"], [6, 72])
    assert result["delta"]["method"] == "lora"
    rows = table(tmp_path / "features.csv")
    assert rows[0] == {"path_rgb": "RGB/a.png", "path_nir": "", "path_tir": ""}
    assert rows[1] == {"path_rgb": "RGB/b.png", "path_nir": "NI/b.png", "path_tir": ""}
    features = np.load(tmp_path / "features.npy")
    assert features[0, :24].any() and not features[0, 24:].any()
    assert features[1, 24:48].any() and not features[:, 48:].any()
    code, out, err = embed(folder / "NI", "--delta", delta, "--modality", "TI", "--force")
    assert np.load(tmp_path / "features.npy")[:, 48:].any(axis=1).all()
    code, out, err = embed(folder, "--modalities", "rgb,nir", "--force", "--json")
    assert json.loads(out)["shape"] == [6, 48]  # without a delta
