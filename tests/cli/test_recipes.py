"""``reidtune recipes``: the list, and one recipe as it stands."""

import json

import pytest

from reidtune.cli.app import run
from reidtune.config import resolve_config
from reidtune.recipes.find import recipe_names, recipe_text


def test_the_list_has_every_recipe(capsys):
    assert run(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()


@pytest.mark.parametrize("name", ["lora", "dmpt-tiny"])
def test_a_recipe_is_shown_as_it_stands_and_can_be_given_back(capsys, tmp_path, name):
    assert run(["recipes", "show", name]) == 0
    text = capsys.readouterr().out
    assert text == recipe_text(name) and text.startswith("#")
    own = tmp_path / "my.toml"
    own.write_text(text)
    assert resolve_config(str(own), {}) == resolve_config(name, {})
    assert run(["recipes", "show", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["shwo"], 'There is no "recipes shwo". Did you mean "show"?'),
        (["show"], "Which recipe?"),
        (["show", "lorra"], 'There is no shipped recipe "lorra". Did you mean "lora"?'),
    ],
)
def test_what_is_not_there_is_2(capsys, arguments, sentence):
    assert run(["recipes", *arguments]) == 2
    printed = capsys.readouterr()
    assert sentence in " ".join(printed.err.split()) and not printed.out
