"""MambaPro's page: its parts, its counts, and what it takes from the data."""

import pytest

from reidtune.config import resolve_config, validate_settings
from reidtune.errors import SettingsError
from reidtune.methods.base import Facts
from reidtune.methods.mambapro import MambaPro, MambaProSettings

NAMES = ("rgb", "nir", "tir")


def made(names=NAMES, **settings):
    facts = Facts("multimodal", "person", 171, 4, names)
    return MambaPro(MambaPro.complete(MambaProSettings(**settings), facts))


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 56_225_664),
        ({"adapters": False}, 27_886_464),
        ({"prompts": False}, 28_339_200),
    ],
)
def test_counts_on_vit_b_16(vit_b_16, settings, count):
    """The paper prints 56.82, 28.48 and 28.34 million; its unused perceptron of 590,976 is not here."""
    assert made(**settings).tuner(vit_b_16).parameter_count() == count


@pytest.mark.parametrize("names", [("rgb",), ("rgb", "tir"), (*NAMES, "depth")])
def test_the_modalities_of_the_data_travel_in_the_settings(small_backbone, names):
    method = made(names)
    assert method.settings.modalities == names
    assert method.tuner(small_backbone).prompts.prompts.shape == (2, len(names), 4, 32)
    again = MambaPro(validate_settings(MambaProSettings, method.settings.model_dump(mode="json")))
    assert again.settings == method.settings


def test_a_method_without_any_part_is_refused():
    with pytest.raises(SettingsError, match="prompts and adapters are both false"):
        validate_settings(MambaProSettings, {"prompts": False, "adapters": False})


def test_the_recipe_is_that_of_the_public_code():
    config = resolve_config("mambapro", {})
    assert config.settings == {"tokens": 4, "start": "zeros", "prompts": True, "adapters": True}
    assert (config.loss.identity, config.loss.triplet, config.loss.margin) == (0.25, 1.0, "soft")
    assert (config.optimiser.name, config.optimiser.lr, config.optimiser.warmup_epochs) == ("adam", 3.5e-4, 10)
    assert (config.training.epochs, config.training.batch_size, config.training.instances) == (60, 64, 4)
