from __future__ import annotations

from pathlib import Path

import pytest

from reidtune.errors import SettingsError
from reidtune.methods.registry import METHOD_SUMMARIES, find_method
from reidtune.recipes import read_recipe, recipe_names, recipe_summary


def test_every_trained_method_has_both_recipes() -> None:
    trained = set(METHOD_SUMMARIES) - {"zero-shot"}
    assert {f"{name}{kind}" for name in trained for kind in ("", "-tiny")} <= set(recipe_names())


def test_methods_for_several_tasks_have_a_recipe_a_task() -> None:
    several = {name for name in METHOD_SUMMARIES if len(find_method(name).tasks) > 1} - {"zero-shot"}
    assert several == {"lora", "adapter", "full"}
    assert {f"{name}-text{kind}" for name in several for kind in ("", "-tiny")} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_fits_its_method(name: str) -> None:
    values = read_recipe(name)
    assert values["method"] == name.removesuffix("-tiny").removesuffix("-text").removesuffix("-multimodal")
    find_method(values["method"]).Settings.model_validate(values.get("settings", {}))
    assert (values["backbone"].get("name") == "tiny") == name.endswith("-tiny")
    assert len(recipe_summary(name)) > 20


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r'no recipe "lorra"\. Did you mean "lora"') as caught:
        read_recipe("lorra")
    assert "vpt-tiny" in caught.value.hint


def test_files_and_run_folders(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("seed = 3\n")
    assert read_recipe(tmp_path) == read_recipe(tmp_path / "recipe.toml") == {"seed": 3}


@pytest.mark.parametrize("raw", [b"seed = ", b"seed = 1\nseed = 2\n", b"\xff\xfe"])
def test_what_is_no_toml(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(raw)
    with pytest.raises(SettingsError, match="not valid TOML"):
        read_recipe(path)
