"""``reidtune evaluate --features``: tables, JSON, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from reidtune.cli.app import run


@pytest.fixture
def evaluate(capsys, monkeypatch, tmp_path):
    """Run the command in a folder with query and gallery; returns code, stdout and stderr (its lines joined)."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(2)
    for side, count in (("query", 4), ("gallery", 9)):
        np.save(f"{side}.npy", random.standard_normal((count, 6)))
        rows = [f"{row % 3},{row % 2}" for row in range(count)]
        (tmp_path / f"{side}.csv").write_text("\n".join(["id,cam", *rows]))

    def call(text):
        code = run(["evaluate", *text.split()])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, " ".join(printed.err.split())

    return call


TWO = "--features query.npy gallery.npy --labels query.csv gallery.csv"


def test_a_table_and_json(evaluate, tmp_path):
    code, out, err = evaluate(TWO)
    assert (code, err) == (0, "")
    assert "features (query.npy, gallery.npy)" in " ".join(out.split())
    assert "features, cross-camera: 4 queries, 9 gallery images" in out
    assert "Backbone" not in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, err = evaluate(f"{TWO} --json --output result.json")
    result = json.loads(out)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert (result["backbone"], result["delta"], result["features"]["dtype"]) == (None, None, "float64")
    assert evaluate(f"{TWO} --output result.json")[0] == 2  # never replaced unasked


def test_similarity_and_one_file_twice_named(evaluate):
    code, out, err = evaluate(f"{TWO} --similarity euclidean --protocol all")
    assert "compared by euclidean distance" in " ".join(out.split())
    code, out, err = evaluate("--features=gallery.npy --labels=gallery.csv --json")
    assert json.loads(out)["queries"]["total"] == 9
    repeated = "--features query.npy --features gallery.npy --labels query.csv --labels gallery.csv --json"
    assert evaluate(repeated)[1] == evaluate(f"{TWO} --json")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ("", 2, "DATA is missing"),
        ("--features query.npy", 2, "Give both"),
        ("--labels query.csv", 2, "Give both"),
        ("demo --similarity cosine", 2, "features in files"),
        (f"demo {TWO}", 2, "--features stands alone, but DATA is given"),
        (f"{TWO} --delta run --matrix", 2, "but --delta, --matrix is given"),
        (f"{TWO} gallery.csv", 2, "--labels 3 files"),
        (f"{TWO} --protocol cross-camra", 2, 'Did you mean "cross-camera"'),
        ("--features query.npy nowhere.npy --labels query.csv gallery.csv", 4, "nowhere.npy"),
        ("--features query.npy gallery.npy --labels gallery.csv query.csv", 4, '4 features, but "gallery.csv" has 9'),
    ],
)
def test_refusals(evaluate, arguments, code, sentence):
    found, out, err = evaluate(arguments)
    assert (found, out) == (code, "")
    assert sentence in err


def test_no_model_is_loaded(evaluate, tmp_path):
    script = (
        f"import sys; from reidtune.cli.app import run; code = run(['evaluate', *{TWO.split()!r}, '-q']); "
        "print(sorted({'open_clip', 'reidtune.model', 'torchvision'} & set(sys.modules)), file=sys.stderr); "
        "sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "[]\n")
