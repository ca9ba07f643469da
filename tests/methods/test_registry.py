from importlib.metadata import EntryPoint

import pytest

from reidtune.errors import SettingsError
from reidtune.methods import registry
from reidtune.methods.lora import Lora


def test_an_unknown_method_gets_a_suggestion_and_the_list():
    with pytest.raises(SettingsError, match='Unknown method "lorra". Did you mean "lora"') as error:
        registry.find_method("lorra")
    assert all(name in error.value.hint for name in registry.method_names())


def test_methods_of_other_packages_are_found(monkeypatch):
    entry = EntryPoint("theirs", "reidtune.methods.lora:Lora", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == registry.ENTRY_POINTS else [])
    assert registry.find_method("theirs") is Lora
    assert "theirs" in registry.method_names()


@pytest.mark.parametrize("name", registry.METHOD_SUMMARIES)
def test_every_page_carries_its_paper(name):
    page = registry.find_method(name)
    assert page.name == name
    assert page.title
    assert page.citation
    assert page.tasks
