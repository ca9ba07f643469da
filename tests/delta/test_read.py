"""Which file is read, what an honest one gives, and the backbone that it is for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reidtune.delta import check_backbone, find_delta, read_file, read_header, read_tensors, verify
from reidtune.errors import DeltaError, SettingsError
from tests.delta.lies import relist


def test_an_honest_file_passes(delta: Path, tensors: dict[str, torch.Tensor]) -> None:
    found = verify(delta)
    assert [entry.name for entry in found.tensors] == sorted(tensors)
    assert found.bytes == delta.stat().st_size
    assert set(read_tensors(delta)) == set(tensors)
    relist(delta, lambda listing: None)  # another JSON spelling of the same listing is the same delta
    assert verify(delta).header == found.header


def test_run_folders(delta: Path) -> None:
    best = delta.with_name("best.safetensors")
    assert find_delta(delta.parent) == delta
    delta.rename(best)
    assert find_delta(delta.parent) == best
    assert read_file(delta.parent).path == best
    best.unlink()
    with pytest.raises(SettingsError, match="holds no delta"):
        read_header(delta.parent)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no delta at") as caught:
        read_header(tmp_path / "nothing.safetensors")
    assert caught.value.exit_code == 2


def test_the_right_backbone_passes(delta: Path, header: dict[str, Any]) -> None:
    fingerprint = header["backbone"]["fingerprint"]
    fingerprint["switches"]["image_size"] = (96, 48)  # a live fingerprint may hold tuples
    check_backbone(read_header(delta), fingerprint)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda f: f["tensors"].update({"visual.proj": "3"}), '"visual.proj" has other values'),
        (lambda f: f["tensors"].pop("visual.proj"), 'no tensor "visual.proj"'),
        (lambda f: f["tensors"].update(extra="1"), 'a tensor "extra"'),
        (lambda f: f["tensors"].update(dict.fromkeys(f["tensors"], "x")), '"visual.conv1.weight".*and 1 more'),
        (
            lambda f: f["switches"].update(activation="gelu"),
            'activation = "quick_gelu", but this backbone has activation = "gelu"',
        ),
        (lambda f: f["switches"].update(image_size=[256, 128]), r"image_size = \[96,48\].*\[256,128\]"),
        (lambda f: f.update(digest="ee"), "abababababab.*ee"),
    ],
)
def test_another_backbone_is_refused(
    delta: Path, header: dict[str, Any], change: Callable[[dict[str, Any]], Any], what: str
) -> None:
    fingerprint = header["backbone"]["fingerprint"]
    change(fingerprint)
    with pytest.raises(DeltaError, match=what) as caught:
        check_backbone(read_header(delta), fingerprint)
    assert "tiny (embedded)" in caught.value.message
    assert caught.value.hint


def test_reading_a_header_imports_nothing_heavy(delta: Path) -> None:
    script = (
        "import sys; from reidtune.delta import read_header, verify; "
        f"read_header({str(delta)!r}); verify({str(delta)!r}); "
        "print(sorted({'torch', 'numpy', 'pydantic', 'safetensors'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
