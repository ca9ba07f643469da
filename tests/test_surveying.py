from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

import reidtune
from reidtune.data import images_below
from reidtune.errors import DataError, SettingsError


def test_from_python_the_object_of_the_command(small_world, tmp_path):
    calls = []
    result = reidtune.survey(
        small_world, sheet=tmp_path / "sheet.png", progress=lambda done, total: calls.append((done, total))
    )
    assert result["data"] == str(small_world)
    assert (result["schema"], result["layout"], result["task"]) == (1, "market1501", "image")
    assert calls[-1] == (result["files"]["total"],) * 2 == (len(images_below(small_world)),) * 2
    assert list(result["seconds"]) == ["list", "decode", "copies", "near_duplicates", "captions"]
    assert Image.open(tmp_path / "sheet.png").height > 4 * 128


def test_layout_and_protocol_are_those_of_opening(small_world):
    assert reidtune.survey(small_world, "market1501", "all", quick=True)["protocol"] == "all"
    with pytest.raises(SettingsError, match="no protocol"):
        reidtune.survey(small_world, protocol="none")
    with pytest.raises(DataError, match="no file or folder"):
        reidtune.survey("nowhere/at-all")


@pytest.mark.parametrize("options", [["--quick", "--json"], ["--sheet"]])
def test_neither_torch_nor_open_clip_is_imported_for_images(small_world, tmp_path, options):
    arguments = ["data", str(small_world), *options, *([str(tmp_path / "a.png")] if options == ["--sheet"] else [])]
    code = (
        "import sys; from reidtune.cli.app import run\n"
        f"code = run({arguments!r})\n"
        "print(code, *({'torch', 'open_clip', 'torchvision'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0"
