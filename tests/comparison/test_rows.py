"""What is compared: names, settings of a row's own, recipes."""

import pytest

from reidtune.comparison.rows import DEFAULTS, find_rows
from reidtune.errors import SettingsError
from reidtune.methods.registry import find_method, method_names


def names(*methods, recipes=(), task="image"):
    return [row.name for row in find_rows(methods, recipes, task)]


@pytest.mark.parametrize("task", ["image", "text", "multimodal"])
def test_without_a_choice_some_that_fit_the_data(task):
    assert names(task=task) == list(DEFAULTS[task])
    assert all(task in find_method(name).tasks for name in DEFAULTS[task])


def test_all_is_every_method_for_the_data_but_the_baseline():
    fitting = [name for name in method_names() if "text" in find_method(name).tasks]
    assert ["zero-shot", *names("all", task="text")] == fitting
    assert "dm-adapter" in fitting and "vpt" not in fitting


def test_methods_stand_alone_or_with_commas_between():
    assert names("lora", "vpt") == names("lora,vpt") == names("lora, vpt") == ["lora", "vpt"]


def test_a_row_may_set_its_own():
    row, other, third = find_rows(
        ['lora:rank=16,targets=["q", "k"],optimiser.lr=1e-3,vpt:length=2', "lora"], (), "image"
    )
    assert row.flags == {"method": "lora", "settings.rank": 16, "settings.targets": ["q", "k"], "optimiser.lr": 1e-3}
    assert other.flags == {"method": "vpt", "settings.length": 2}
    assert third.flags == {"method": "lora"}
    assert row.folder(3) == "lora-rank-16-targets-q-k-optimiser.lr-1e-3-seed3"


def test_recipes_are_rows_called_after_their_files(tmp_path):
    mine = tmp_path / "wide.toml"
    mine.write_text('method = "adapter"\n')
    rows = find_rows(["vpt"], ["lora-tiny", str(mine)], "image")
    assert [(row.name, row.method, row.recipe) for row in rows] == [
        ("vpt", "vpt", None),
        ("lora-tiny", "lora", "lora-tiny"),
        ("wide", "adapter", str(mine)),
    ]
    assert rows[1].flags == {}  # the recipe says its method
    assert [row.name for row in find_rows((), [str(mine)], "image")] == ["wide"]  # recipes alone are a choice


def test_the_baseline_is_no_row():
    assert names("zero-shot", "lora") == ["lora"]
    with pytest.raises(SettingsError, match="nothing to train: zero-shot is always the first row"):
        find_rows(["zero-shot"], (), "image")


@pytest.mark.parametrize(
    ("methods", "message", "hint"),
    [
        (["lorra"], 'Unknown method "lorra". Did you mean "lora"?', "Known methods"),
        (["dm-adapter"], "dm-adapter is for text data, but this is image data", "lora, vpt, adapter"),
        (["lora", "lora"], "Two rows are called alike: lora.", "--recipe FILE"),
        (["lora:rank=1", "lora:rank= 1"], "called alike: lora:rank=1 and lora:rank= 1", "--recipe FILE"),
        (["lora:training.epochs=3"], "sets training.epochs, which is the same for all rows", "--set training.epochs=3"),
        (["lora:data.noun=cat"], "sets data.noun, which is the same for all rows", "--set data.noun=cat"),
        (["lora:"], "lora: sets nothing", "lora:optimiser.lr=1e-3"),
        (["lora:rank"], "--set settings.rank: must be section.key=value", "--set"),
    ],
)
def test_refusals(methods, message, hint):
    with pytest.raises(SettingsError) as refused:
        find_rows(methods, (), "image")
    assert message in refused.value.message
    assert hint in refused.value.hint
