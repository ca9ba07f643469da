"""A layout of another package, as installed as pip would leave it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reidtune.cli.app import run
from reidtune.data import open_dataset

MODULE = """
from pathlib import Path

from reidtune.data import ImageFile, Record
from reidtune.data.layouts import Layout, assemble


def read(path, protocol=None):
    names = (path / "zoo.txt").read_text().split()
    records = [Record((ImageFile(path / name),), int(name[0])) for name in names]
    return assemble(path, "zoo", "Zoo", [], records, records, protocol=protocol)


LAYOUT = Layout("zoo", "the zoo", lambda path: (path / "zoo.txt").is_file(), read)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    site = tmp_path / "site-packages"

    def make(name, module, target="LAYOUT"):
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[reidtune.layouts]\n{name} = {name}:{target}\n")
        (site / f"{name}.py").write_text(module)
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(site)

    return make


@pytest.fixture
def zoo(put) -> Path:
    root = put("zoo/1a.png", "zoo/1b.png", "zoo/2a.png", "zoo/2b.png") / "zoo"
    (root / "zoo.txt").write_text("1a.png 1b.png 2a.png 2b.png")
    return root


def test_an_installed_layout_is_recognised_and_can_be_asked_for(install, zoo, capsys):
    install("reidtune_zoo", MODULE)
    assert open_dataset(zoo).layout == open_dataset(zoo, layout="zoo").layout == "zoo"
    assert run(["data", str(zoo)]) == 0
    assert "Zoo: no training split, 4 test images of 2 identities" in capsys.readouterr().err
    assert run(["data", str(zoo), "--layout", "zou"]) == 2
    assert 'Did you mean "zoo"?' in capsys.readouterr().err


def test_a_broken_one_is_a_warning_in_one_line(install, zoo, put, capsys):
    install("reidtune_zoo", "import a_module_that_is_not_there")
    put("a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (zoo / "zoo.txt").unlink()
    assert run(["data", str(zoo.parent), "--layout", "folder"]) == 0
    said = capsys.readouterr().err
    assert (
        'Warning: The layout "reidtune_zoo" of reidtune_zoo:LAYOUT does not load: No module named '
        "'a_module_that_is_not_there'\n" in said
    )
    assert "UserWarning" not in said


def test_what_is_no_layout_is_a_warning(install, put):
    install("reidtune_zoo", "LAYOUT = lambda: 7")
    with pytest.warns(UserWarning, match="int is not a reidtune.data.layouts.Layout"):
        open_dataset(put("a/1.png", "b/1.png"))
