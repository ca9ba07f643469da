"""``reidtune evaluate`` on samples of several modalities: tables, JSON, and what is refused."""

import json

import pytest

from reidtune.cli.app import run

NAMES = ["rgb", "nir", "tir"]


@pytest.fixture(scope="module")
def backbone(small_backbone):
    return f"--backbone=local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def evaluate(capsys, monkeypatch, spectral_world, backbone):
    """Run the command; returns code, stdout and stderr (its lines joined)."""
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments, data=spectral_world):
        code = run(["evaluate", str(data), backbone, *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, " ".join(printed.err.split())

    return call


def test_the_table_says_modalities_and_samples(evaluate):
    code, out, err = evaluate("--query-modalities", "rgb, NI", "--gallery-modalities", "thermal")
    assert code == 0
    assert "RGBNT201 names" in err and "modalities rgb, nir and tir" in err
    text = " ".join(out.split())
    assert "none (zero-shot)" in text
    assert "queries of rgb and nir," in text and "gallery samples of tir. Metrics in percent." in text
    assert "image" not in text
    code, out, err = evaluate("--task", "image", "--modalities", "nir")
    assert "One modality a sample: nir." in err
    assert "gallery images, of nir." in " ".join(out.split())


def test_the_matrix_is_printed_below_the_table_and_is_in_the_json(evaluate):
    code, out, _ = evaluate("--matrix")
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    table, maps, ranks = (
        next(n for n, line in enumerate(lines) if word in line) for word in ("mINP", "mAP of", "rank-1 of")
    )
    assert table < maps < ranks
    _, printed, _ = evaluate("--matrix", "--json")
    result = json.loads(printed)
    assert len(result["matrix"]) == 49
    assert result["modalities"] == {"query": NAMES, "gallery": NAMES}
    for metric, start in (("mAP", maps), ("rank-1", ranks)):
        rows = [line.split() for line in lines[start + 6 : start + 13]]
        numbers = [[word for word in row if word[0].isdigit()] for row in rows]
        assert [[word for word in row if not word[0].isdigit()] for row in rows][3] == ["rgb", "nir"]
        cells = [100 * cell["metrics"][metric] for cell in result["matrix"]]
        assert [float(word) for row in numbers for word in row] == pytest.approx(cells, abs=0.051)


def test_the_last_of_several_is_trained_and_its_result_is_kept(evaluate, spectral_world, backbone, tmp_path, capsys):
    folder = tmp_path / "run"
    options = [backbone, "--image-size=32x16", "--batch-size=16", "--workers=0", "--steps=2"]
    assert run(["train", str(spectral_world), "--method=lora", *options, "--output", str(folder), "-q"]) == 0
    capsys.readouterr()
    code, out, _ = evaluate("--delta", "none", "--delta", folder, "--matrix", "--modalities", "rgb,tir")
    assert code == 0
    assert [line.split(".")[0] for line in out.splitlines() if "Rows:" in line] == [
        f"{metric} of {name}" for name in ("none (zero-shot)", "lora (run)") for metric in ("mAP", "rank-1")
    ]
    kept = json.loads((folder / "evaluate.json").read_text())
    assert kept["modalities"] == {"query": ["rgb", "tir"], "gallery": ["rgb", "tir"]}
    assert len(kept["matrix"]) == 9


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--modalities", "rgb,nirr"], 'the data has no modality "nirr". Did you mean "nir"? It has rgb, nir, tir.'),
        (["--gallery-modalities", ","], "--gallery-modalities names no modality. Choose some of rgb, nir, tir."),
        (["--matrix", "--task", "image"], "--task image takes one. Leave one of them out."),
        (["--task", "text"], "--task text cannot be evaluated on multimodal data. Leave --task out."),
    ],
)
def test_wrong_choices_are_usage(evaluate, arguments, sentence):
    code, out, err = evaluate(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err


@pytest.mark.parametrize("flag", ["--matrix", "--modalities=rgb", "--query-modalities=rgb", "--gallery-modalities=rgb"])
def test_image_data_has_no_modalities_to_choose(evaluate, small_world, flag):
    code, out, err = evaluate(flag, data=small_world)
    assert (code, out) == (2, "")
    assert f"{flag.partition('=')[0]} is for multi-modal data, but this is image data. Leave it out" in err
