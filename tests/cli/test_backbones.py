import json

import pytest

from reidtune.backbone.catalogue import catalogue
from reidtune.cli.app import run

ROWS = {row["name"]: row for row in catalogue()}


def test_a_table_with_reasons_below(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    assert run(["backbones"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    for name in ROWS:
        assert name in lines
    assert "86 M" in lines["ViT-B-16"] and "and 14 more" in lines["ViT-B-16"]
    mark = lines["RN50"].split()[2]
    assert lines["RN50"].split()[1] == "no"
    assert lines[mark].startswith(f"{mark} a ResNet has no sequence of tokens")
    assert "have an image tower here" in out.splitlines()[-1]


def test_few_rows_have_all_their_tags_also_on_a_narrow_terminal(capsys, monkeypatch):
    for columns in ("200", "50"):
        monkeypatch.setenv("COLUMNS", columns)
        assert run(["backbones", "ViT-B-16-quickgelu"]) == 0
        words = capsys.readouterr().out.replace(",", " ").split()
        assert set(ROWS["ViT-B-16-quickgelu"]["tags"]) <= set(words)


def test_json_holds_every_row(capsys):
    assert run(["backbones", "--json", "--supported", "clipa"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and set(found["versions"]) == {"open_clip", "timm"}
    assert found["backbones"] == [row for name, row in ROWS.items() if "CLIPA" in name]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ViT-B-61"], 'open_clip has no architecture with "ViT-B-61" in its name. Did you mean "ViT-B-16"?'),
        (["convnext", "--supported"], "has an image tower here: a ConvNeXt"),
    ],
)
def test_names_that_are_not_there(capsys, arguments, sentence):
    assert run(["backbones", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_short_tags_need_few_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["backbones", "siglip2-5"]) == 0
    assert "image tower" in capsys.readouterr().out.splitlines()[0]


def test_tiny_is_there(capsys):
    assert run(["backbones", "tiny"]) == 0
    assert "tiny: embedded, always there" in capsys.readouterr().out
    assert run(["backbones", "tiny", "--supported"]) == 0
    out = capsys.readouterr().out
    assert "tiny: embedded, always there" in out and "convnext" not in out
    assert run(["backbones"]) == 0
    assert "tiny: embedded, always there" in capsys.readouterr().out
    assert run(["backbones", "ViT-B-32"]) == 0
    assert "tiny:" not in capsys.readouterr().out


def test_the_packages_of_a_tokenizer(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["backbones", "ViT-H-14-CLIPA"]) == 0
    assert "hub, and the package transformers\n" in capsys.readouterr().out
    assert run(["backbones", "ViT-B-16-SigLIP"]) == 0
    assert "hub, and the packages transformers and sentencepiece" in capsys.readouterr().out
