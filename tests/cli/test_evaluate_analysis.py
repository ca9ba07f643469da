"""``reidtune evaluate`` with re-ranking, expansion, camera means, decisions and intervals, on every kind of data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reidtune.cli.app import run
from reidtune.retrieval.decisions import decisions
from reidtune.retrieval.rerank import rerank

TWO = "--features query.npy gallery.npy --labels query.csv gallery.csv"


@pytest.fixture
def backbone(small_backbone):
    return f"--backbone=local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def evaluate(capsys, monkeypatch, tmp_path):
    """Run the command; returns code, stdout and stderr (its lines joined)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = run(["evaluate", *map(str, arguments)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, " ".join(printed.err.split())

    return call


@pytest.fixture
def files(tmp_path):
    """Features and labels in files; the same as arguments of the Python functions."""
    random = np.random.default_rng(0)
    labels, features = {}, []
    for side, count in (("query", 20), ("gallery", 60)):
        values = random.standard_normal((count, 6)).astype(np.float32)
        np.save(tmp_path / f"{side}.npy", values)
        (tmp_path / f"{side}.csv").write_text("\n".join(["id,cam", *(f"{n % 7},{n % 3}" for n in range(count))]))
        features.append(values)
        labels |= {f"{side}_ids": [n % 7 for n in range(count)], f"{side}_cameras": [n % 3 for n in range(count)]}
    return features, labels


def test_features_in_files(evaluate, files):
    features, labels = files
    code, out, err = evaluate(*TWO.split(), "--rerank-with", "k1=5,k2=2", "--at-fpr", "0.1", "--intervals", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["metrics"] == rerank(*features, **labels, k1=5, k2=2).metrics()
    found = decisions(*features, **labels, fpr=0.1)
    assert result["decisions"] == {"scores": "cosine", **found.to_json()}
    assert result["decisions"]["suggested"]["threshold"] == found.threshold
    low, high = result["intervals"]["bounds"]["mAP"]
    assert low < result["metrics"]["mAP"] < high
    plain = json.loads(evaluate(*TWO.split(), "--json")[1])
    assert result["without"]["metrics"] == plain["metrics"]
    assert not {"applied", "without", "decisions", "intervals"} & set(plain)


def test_features_are_printed_in_percent(evaluate, files):
    code, out, _ = evaluate(*TWO.split(), "--rerank", "--decisions", "--intervals")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    text = " ".join(out.split())
    for words in ("re-ranked (k1 20, k2 6, lambda 0.3)", "Without re-ranking: rank-1", "95 % intervals over 7 query"):
        assert words in text
    assert "Suggested threshold: " in text or "No threshold for 0.1 %" in text


def test_captions_and_images_in_files(evaluate, files):
    features, labels = files
    backwards = {f"{side}_ids": labels[f"{other}_ids"] for side, other in (("query", "gallery"), ("gallery", "query"))}
    out = evaluate(*TWO.split(), "--protocol=cross-modality", "--rerank-with=k1=5,k2=2", "--json")[1]
    expected = rerank(*features[::-1], **backwards, protocol="cross-modality", k1=5, k2=2)
    assert json.loads(out)["image_to_text"]["metrics"] == expected.metrics()
    options = [
        "--protocol",
        "cross-modality",
        "--expand",
        "aqe:k=2",
        "--rerank",
        "--decisions",
        "--intervals",
        "--json",
    ]
    code, out, err = evaluate(*TWO.split(), *options)
    assert (code, err) == (0, "")
    result = json.loads(out)
    back = result["image_to_text"]
    assert set(back["applied"]) == {"expansion", "reranking"}
    assert {"without", "intervals"} < set(back) and "decisions" not in back
    assert result["decisions"]["pairs"]["genuine"] + result["decisions"]["pairs"]["impostor"] == 20 * 60


def test_euclidean_distances(evaluate, files):
    code, out, _ = evaluate(*TWO.split(), *["--similarity", "euclidean", "--rerank", "--at-fpr", "0.1", "--json"])
    result = json.loads(out)
    assert (code, result["decisions"]["scores"]) == (0, "minus the squared Euclidean distance")
    assert result["decisions"]["suggested"]["threshold"] < 0
    code, out, err = evaluate(*TWO.split(), *["--similarity", "euclidean", "--expand", "aqe"])
    assert (code, out) == (2, "")
    assert "weighs neighbours by cosines" in err


def test_images_with_a_sheet(evaluate, small_world, backbone, tmp_path):
    arguments = [small_world, backbone, "--camera-means", "--expand", "alpha-qe:k=2", "--rerank-with", "k1=4"]
    code, out, _ = evaluate(*arguments, "--decisions", "--json", "--sheet", tmp_path / "lists.png")
    assert code == 0
    result = json.loads(out)
    assert set(result["applied"]) == {"camera_means", "expansion", "reranking"}
    assert result["decisions"]["scores"] == "cosine of the changed features"
    assert (tmp_path / "lists.png").stat().st_size > 10_000
    assert "re-ranked (k1 4" in " ".join(evaluate(*arguments)[1].split())


def test_captions(evaluate, backbone, tmp_path):
    from reidtune.demo.world import render_world

    render_world(tmp_path / "world", identities=8, kinds=("text",))
    data = tmp_path / "world" / "text"
    code, out, _ = evaluate(data, backbone, "--expand=aqe:k=3", "--rerank", "--decisions", "--intervals", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["metrics"] != result["without"]["metrics"]
    assert result["image_to_text"]["applied"] == result["applied"]
    pairs = result["decisions"]["pairs"]
    assert pairs["genuine"] + pairs["impostor"] == result["queries"]["total"] * result["gallery"]["total"]
    code, out, _ = evaluate(data, backbone, "--rerank", "--decisions", "--intervals")
    assert "Image to text, without re-ranking" in " ".join(out.split())
    assert evaluate(data, backbone, "--task", "image", "--rerank", "--json")[0] == 0  # leave-one-out


def test_samples_of_several_modalities(evaluate, spectral_world, backbone):
    options = ["--query-modalities", "rgb,nir", "--rerank", "--expand", "aqe:k=2", "--decisions", "--intervals"]
    code, out, _ = evaluate(spectral_world, backbone, *options, "--json")
    assert code == 0
    result = json.loads(out)
    assert (result["task"], result["modalities"]["query"]) == ("multimodal", ["rgb", "nir"])
    assert result["metrics"] != result["without"]["metrics"]
    assert evaluate(spectral_world, backbone, "--matrix", "--rerank")[0] == 2
    assert evaluate(spectral_world, backbone, "--matrix", "--intervals", "-q")[0] == 0


def test_random_galleries_are_refused(evaluate, files, small_world, backbone):
    for data in ([str(small_world), backbone], ["--features", "gallery.npy", "--labels", "gallery.csv"]):
        code, out, err = evaluate(*data, "--protocol", "random-gallery", "--intervals")
        assert (code, out) == (2, "")
        assert "the protocol random-gallery, whose galleries are drawn" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--expand aqr", 'Did you mean "aqe"'),
        ("--rerank-with k1=0", "k1 is 0"),
        ("--at-fpr 2", "not between 0 and 1"),
    ],
)
def test_wrong_settings_are_said_before_the_work(evaluate, files, small_world, arguments, sentence):
    for data in (str(small_world), TWO):
        code, out, err = evaluate(*data.split(), *arguments.split())
        assert (code, out) == (2, "")
        assert sentence in err
        assert "Market-1501" not in err
