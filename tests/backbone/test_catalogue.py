"""The shipped list of backbones equals what the installed packages say, and is made again for others."""

import json
import subprocess
import sys
from importlib.resources import files

import pytest

from reidtune.backbone import catalogue as module
from reidtune.backbone.catalogue import catalogue, chosen, compute, versions
from reidtune.errors import SettingsError

SHIPPED = json.loads((files("reidtune.backbone") / "catalogue.json").read_text(encoding="utf-8"))
ROWS = {row["name"]: row for row in SHIPPED["rows"]}
SAME = SHIPPED["versions"] == versions()
FEW = ["ViT-B-32", "ViT-B-16-SigLIP", "EVA02-B-16", "PE-Core-T-16-384", "ViTamin-S", "MobileCLIP-B", "coca_ViT-B-32"]
FEW += ["RN50", "roberta-ViT-B-32", "vit_relpos_medium_patch16_cls_224"]


def test_the_shipped_list_is_complete_and_every_missing_tower_has_a_reason():
    import open_clip

    if SAME:
        assert list(ROWS) == open_clip.list_models()
    assert len(ROWS) >= 144
    for row in ROWS.values():
        for kind in ("image", "text"):
            assert row[kind]["supported"] == (not row[kind]["reason"]), row["name"]
            assert row[kind]["parameters"] or "Hugging Face transformers" in row[kind]["reason"], row["name"]
    assert sum(row["image"]["supported"] for row in ROWS.values()) >= 115
    assert sum(row["image"]["supported"] and row["text"]["supported"] for row in ROWS.values()) >= 105


@pytest.mark.skipif(not SAME, reason="the list is shipped for other versions of open_clip and timm")
@pytest.mark.parametrize("name", FEW)
def test_rows_of_every_family_equal_a_fresh_computation(name):
    assert json.loads(json.dumps(compute([name]))) == [ROWS[name]]


def test_parameters_are_those_of_the_loaded_model():
    from reidtune.backbone.load import load_backbone

    backbone = load_backbone("ViT-S-32", "none")
    row = ROWS["ViT-S-32"]
    for kind, tower in (("image", backbone.image), ("text", backbone.text)):
        assert sum(tower.parameters[name].numel() for name in tower.names()) == row[kind]["parameters"]
        assert (row[kind]["width"], row[kind]["layers"], row[kind]["heads"]) == (tower.width, tower.layers, tower.heads)
    assert row["features"] == backbone.image.output_width


def test_other_versions_are_computed_once_and_kept(monkeypatch, tmp_path):
    asked = []

    def slow(names=None, progress=None):
        asked.append(names)
        return [ROWS["RN50"]]

    monkeypatch.setenv("REIDTUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "versions", lambda: {"open_clip": "9.0", "timm": "9.1"})
    monkeypatch.setattr(module, "compute", slow)
    assert catalogue() == catalogue() == [ROWS["RN50"]]
    assert asked == [None]
    cached = next(tmp_path.glob("backbones-9.0-9.1.json"))
    cached.write_text("damaged")
    assert catalogue() == [ROWS["RN50"]]
    assert len(asked) == 2


def test_names_are_found_by_a_part_of_them():
    rows = list(ROWS.values())
    assert {row["name"] for row in chosen(rows, "siglip2-384", False)} == {
        name for name in ROWS if "SigLIP2-384" in name
    }
    assert [row["name"] for row in chosen(rows, "ViT-B/16-plus-240", True)] == ["ViT-B-16-plus-240"]
    assert chosen(rows, None, False) == rows
    assert all(row["image"]["supported"] for row in chosen(rows, None, True))
    with pytest.raises(SettingsError, match=r'no architecture with "sigclip" in its name'):
        chosen(rows, "sigclip", False)
    with pytest.raises(SettingsError, match="has an image tower here: a ResNet has no sequence of tokens"):
        chosen(rows, "RN50", True)


@pytest.mark.skipif(not SAME, reason="the list is shipped for other versions of open_clip and timm")
def test_the_shipped_list_is_read_without_torch_or_open_clip():
    code = (
        "import sys; from reidtune.cli.app import run; code = run(['backbones', 'siglip2', '--json']);"
        "assert not {'torch', 'open_clip', 'timm', 'numpy'} & set(sys.modules), 'slow imports'; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all("SigLIP2" in row["name"] for row in json.loads(done.stdout)["backbones"])
