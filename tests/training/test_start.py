"""Beginning with the values of a delta."""

from __future__ import annotations

import pytest

from reidtune.delta import read_header, read_tensors, write_delta
from reidtune.errors import DeltaError, SettingsError
from reidtune.training.open import open_run
from tests.training.reporter import Silent


def flags_of(**more):
    return {
        "method": "lora",
        "backbone.name": "tiny",
        "training.steps": 1,
        "training.batch_size": 8,
        "training.instances": 2,
        "training.workers": 0,
        "training.validate_every": 9,
        "data.validation_fraction": 0.3,
        **more,
    }


def start(world, flags, output, **options):
    run = open_run(str(world), None, flags, output=output, **options)
    run.train(run.prepare(), Silent())
    return output


@pytest.fixture(scope="module")
def trained(small_world, tmp_path_factory):
    return start(small_world, flags_of(), tmp_path_factory.mktemp("runs") / "first")


def test_the_same_backbone_with_other_weights_is_refused(trained, small_world, tmp_path):
    with pytest.raises(DeltaError, match="--init-from .*other values in this backbone") as error:
        start(small_world, flags_of(**{"backbone.pretrained": "none"}), tmp_path / "next", init_from=trained)
    assert error.value.exit_code == 3
    assert not (tmp_path / "next").exists()


@pytest.mark.parametrize(
    ("name", "value", "had", "has"), [("alpha", 64.0, "8.0", "64.0"), ("rank", 4, "8", "4")], ids=["alpha", "rank"]
)
def test_settings_that_mean_something_else_are_named(trained, small_world, tmp_path, name, value, had, has):
    with pytest.raises(SettingsError) as error:
        start(small_world, flags_of(**{f"settings.{name}": value}), tmp_path / "next", init_from=trained)
    assert f"has {name} = {had}, but this run has {name} = {has}." in error.value.message
    assert f"--set settings.{name}={had}" in error.value.hint


def test_the_factor_of_cameras_counts(small_world, tmp_path):
    own = {"settings.camera_embedding": "camera"}
    first = start(small_world, flags_of(**own), tmp_path / "first")
    with pytest.raises(SettingsError, match=r"has camera_scale = 3\.0, but this run has camera_scale = 1\.0"):
        start(small_world, flags_of(**own, **{"settings.camera_scale": 1.0}), tmp_path / "next", init_from=first)


def test_how_is_trained_is_free(trained, small_world, tmp_path):
    start(small_world, flags_of(**{"settings.dropout": 0.3, "optimiser.lr": 0.1}), tmp_path / "a", init_from=trained)


def test_what_an_older_delta_does_not_say_has_its_default(trained, small_world, tmp_path):
    header = read_header(trained)
    settings = {key: value for key, value in header.settings.items() if key != "per_modality"}
    fields = ("method", "backbone", "preprocess", "task", "protocol", "data", "metrics")
    old = tmp_path / "old.safetensors"
    write_delta(old, read_tensors(trained), {**{key: getattr(header, key) for key in fields}, "settings": settings})
    start(small_world, flags_of(), tmp_path / "next", init_from=old)
