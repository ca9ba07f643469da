from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from reidtune.cli.app import run
from reidtune.delta import read_header, write_delta


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    header: dict[str, Any] = {
        "method": "lora",
        "settings": {"rank": 2, "targets": ["q", "v"]},
        "backbone": {
            "name": "tiny",
            "pretrained": "embedded",
            "fingerprint": {"digest": "ab" * 32, "tensors": {"a": "1", "b": "2"}, "switches": {"activation": "gelu"}},
        },
        "preprocess": {"height": 96, "width": 48, "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"},
        "task": "image",
        "protocol": "cross-camera",
        "data": {"layout": "market1501", "hash": "cd" * 32, "train": {"images": 12, "identities": 3}},
        "metrics": {"mAP": 0.51239, "rank-1": 1.0, "queries": 4, "how": "reloaded [file]"},
    }
    tensors = {"lora.0.down": torch.ones(2, 6), "lora.0.up": torch.ones(6, 2), "neck.mean": torch.ones(3).bfloat16()}
    path = tmp_path / "delta.safetensors"
    write_delta(path, tensors, header)
    return path


def test_a_person_sees_every_section(delta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(delta.parent)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = [" ".join(line.split()) for line in captured.out.splitlines()]
    digest = read_header(delta).digest
    for line in [
        f"file {delta}",
        "method lora",
        "task image, protocol cross-camera",
        f"digest {digest[:12]} (not verified, --verify does)",
        "targets q, v",
        "name tiny (embedded)",
        "fingerprint abababababab over 2 tensors",
        "activation gelu",
        "image squashed to 96x48 (height x width), bicubic",
        "hash cdcdcdcdcdcd",
        "train identities 3, images 12",
        "mAP 51.24 %",
        "rank-1 100.00 %",
        "queries 4",
        "how reloaded [file]",
        "lora 2 tensors, 24 values, 96 bytes, F32",
        "neck 1 tensor, 3 values, 6 bytes, BF16",
        f"torch {version('torch')}",
    ]:
        assert line in lines, line
    assert run(["inspect", str(delta), "--verify"]) == 0
    assert f"{digest[:12]} (verified)" in capsys.readouterr().out


def test_json(delta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(delta), "--json", "--verify"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    header = read_header(delta)
    assert captured.err == ""
    assert found["schema"] == 1
    for key in ("method", "settings", "backbone", "preprocess", "parameters", "digest", "data", "metrics", "versions"):
        assert found[key] == getattr(header, key), key
    assert found["bytes"] == delta.stat().st_size
    assert found["tensors"][2] == {"name": "neck.mean", "shape": [3], "dtype": "BF16"}
    assert found["verified"] is True


def test_a_delta_of_samples_says_its_modalities_and_how_it_is_used(
    delta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(delta), "--json"]) == 0
    assert "modalities" not in json.loads(capsys.readouterr().out)
    assert run(["inspect", str(delta)]) == 0
    assert not {"Use", "modalities"} & set(capsys.readouterr().out.split())
    values = read_header(delta).to_json()
    for computed in ("norms", "digest", "parameters"):
        del values[computed]
    data = {**values["data"], "modalities": ["rgb", "tir"]}
    path = tmp_path / "samples.safetensors"
    write_delta(path, {"a.b": torch.ones(1)}, {**values, "task": "multimodal", "data": data})
    assert run(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["modalities"] == found["data"]["modalities"] == ["rgb", "tir"]
    assert run(["inspect", str(path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines.count("modalities rgb, tir") == 2
    assert "needs samples of images of rgb, tir; some may be missing in a sample, not all" in lines
    assert "search reidtune search FOLDER --delta DELTA --image rgb=FILE --image tir=FILE" in lines
    assert 'Python reidtune.load(DELTA).embed_samples([{"rgb": "rgb.jpg", "tir": "tir.jpg"}])' in lines


@pytest.mark.parametrize("flags", [["--json"], []])
def test_a_missing_delta(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(tmp_path / "none.safetensors"), *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: There is no delta at ")


def test_damage_is_told_by_verify_alone_when_it_is_in_the_tensors(
    delta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = bytearray(delta.read_bytes())
    raw[-1] ^= 1
    delta.write_bytes(raw)
    assert run(["inspect", str(delta)]) == 0
    capsys.readouterr()
    assert run(["inspect", str(delta), "--verify", "--json"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "the delta is damaged: its digest is" in captured.err


def test_a_foreign_file_cannot_steer_the_terminal(delta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = read_header(delta).to_json()
    for computed in ("norms", "digest", "parameters"):
        del values[computed]
    write_delta(delta, {"a\x1b[2Jb.c": torch.ones(1)}, {**values, "method": "[red]lora[/red]\x1b]0;title\x07"})
    assert run(["inspect", str(delta)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[red]lora[/red]\\x1b]0;title\\x07" in out


def test_inspecting_imports_nothing_heavy(delta: Path) -> None:
    script = (
        "import sys; from reidtune.cli.app import run; "
        f"code = run(['inspect', {str(delta)!r}, '--verify']); "
        "print(sorted({'torch', 'numpy', 'open_clip', 'safetensors', 'reidtune.config'} & set(sys.modules)), "
        "file=sys.stderr); sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "[]\n")
