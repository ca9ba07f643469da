from __future__ import annotations

from types import SimpleNamespace

import pytest

from reidtune.data import open_dataset
from reidtune.data.layouts import ENTRY_POINTS, Layout, assemble, known_layouts, registry
from reidtune.errors import SettingsError

from ..conftest import record


def zoo():
    def read(path, protocol):
        return assemble(path, "zoo", "Zoo", [record(1), record(2)], [], [], protocol=protocol)

    return Layout("zoo", "the zoo", lambda path: (path / "zoo.txt").exists(), read)


@pytest.fixture
def register(monkeypatch):
    def with_entries(**loads):
        entries = [SimpleNamespace(name=name, value=f"other:{name}", load=load) for name, load in loads.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == ENTRY_POINTS else [])

    return with_entries


def test_the_built_in_layouts():
    tables = ["wildlife", "table", "cuhk-pedes", "icfg-pedes", "rstpreid"]
    lists = ["msmt17", "msmt17-train", "vehicleid", *(f"vehicleid-{n}" for n in (1600, 2400, 3200, 6000, 13164))]
    several = ["rgbnt100", "rgbnt201", "msvr310", "wmveid863"]
    assert list(known_layouts()) == [*tables, *lists, *several, "market1501", "market1501-500k", "cuhk03", "folder"]


@pytest.mark.parametrize("load", [lambda: zoo, zoo])
def test_another_package_adds_a_layout(register, put, load):
    register(zoo=load)
    root = put("a/1.png", "b/1.png")
    assert open_dataset(root).layout == "folder"
    (root / "zoo.txt").touch()
    assert open_dataset(root).layout == "zoo"
    assert open_dataset(root, layout="zoo").layout == "zoo"
    assert open_dataset(root, layout="folder").layout == "folder"
    assert list(known_layouts())[-3:] == ["cuhk03", "zoo", "folder"]


def test_a_built_in_layout_is_not_replaced(register):
    impostor = Layout("market1501", "", lambda path: True, zoo().read)
    register(market1501=lambda: impostor)
    assert known_layouts()["market1501"] is not impostor


def test_a_layout_that_does_not_load_is_told_and_left_out(register):
    def fail():
        raise ImportError("no module named zoo")

    register(zoo=fail)
    with pytest.warns(UserWarning, match='"zoo" of other:zoo does not load: no module named zoo'):
        assert "zoo" not in known_layouts()


def test_an_unknown_layout_is_a_settings_error(put):
    with pytest.raises(SettingsError, match=r'"market1051".*Did you mean "market1501"') as error:
        open_dataset(put("a/1.png"), layout="market1051")
    assert error.value.exit_code == 2
    assert "market1501, market1501-500k" in error.value.hint
