from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from reidtune.config import (
    RunConfig,
    changed_settings,
    flatten,
    free_arguments,
    parse_set,
    replace_values,
    resolve_config,
    resolve_with_origins,
    to_toml,
    validate_settings,
)
from reidtune.errors import SettingsError
from reidtune.recipes import recipe_names


def recipe(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def problems(flags: dict[str, Any], source: str | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        resolve_config(source, flags)
    assert caught.value.exit_code == 2
    return [line.strip() for line in caught.value.message.splitlines()]


def test_every_setting_has_a_description() -> None:
    for section in RunConfig.model_fields.values():
        kind = section.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            assert all(field.description for field in kind.model_fields.values()), kind


def test_precedence(tmp_path: Path) -> None:
    mine = recipe(tmp_path, 'method = "vpt"\n[optimiser]\nlr = 0.5\n[training]\nworkers = 7\n[settings]\ntokens = 3\n')
    flags = {"training.workers": 1, "optimiser.eps": None}
    config, origins = resolve_with_origins(mine, flags, fallback={"data.noun": "lion", "augmentation.pad": 1})
    assert config.training.workers == 1
    assert config.optimiser.lr == 0.5
    assert config.settings == {"tokens": 3, "deep": True}  # deep is the shipped recipe's
    assert config.training.epochs == 60
    assert config.optimiser.eps == 1e-8
    assert config.data.noun == "lion"
    assert config.augmentation.pad == 10
    wanted = {
        "training.workers": "flag",
        "optimiser.lr": f"recipe {mine}",
        "settings.tokens": f"recipe {mine}",
        "settings.deep": "recipe vpt",
        "training.epochs": "recipe vpt",
        "optimiser.eps": "default",
    }
    assert {name: origins[name] for name in wanted} == wanted
    assert set(origins) == set(flatten(config))


def test_a_method_brings_its_recipe() -> None:
    assert resolve_config(None, {}).settings["targets"] == ["q", "v"]
    assert resolve_config(None, {"method": "adapter"}).settings["width"] == 64
    assert resolve_config(None, {"method": "zero-shot"}).settings == {}


@pytest.mark.parametrize("how", ["flag", "recipe", "fallback"])
def test_tiny_takes_the_tiny_recipe(how: str, tmp_path: Path) -> None:
    mine = recipe(tmp_path, '[backbone]\nname = "tiny"\n') if how == "recipe" else None
    flags = {"backbone.name": "tiny"} if how == "flag" else {}
    fallback = {"backbone.name": "tiny"} if how == "fallback" else None
    config, origins = resolve_with_origins(mine, {**flags, "method": "lora"}, fallback=fallback)
    assert origins["optimiser.lr"] == "recipe lora-tiny"
    assert config.backbone.name == "tiny"
    assert config.backbone.image_size is None


def test_a_flag_decides_against_the_fallback_backbone() -> None:
    config = resolve_config(None, {"backbone.name": "ViT-B-16"}, fallback={"backbone.name": "tiny"})
    assert (config.backbone.name, config.backbone.image_size) == ("ViT-B-16", (256, 128))


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_resolve_and_round_trip(name: str, tmp_path: Path) -> None:
    config, origins = resolve_with_origins(name, {})
    assert config.method == name.removesuffix("-tiny").removesuffix("-text").removesuffix("-multimodal")
    assert resolve_config(recipe(tmp_path, to_toml(config)), {}) == config
    assert resolve_config(recipe(tmp_path, to_toml(config, origins=origins)), {}) == config


def test_awkward_values_round_trip(tmp_path: Path) -> None:
    values = {
        "backbone.name": 'a"b\\c\n\x7f ü #',
        "backbone.pretrained": "none",
        "backbone.image_size": (64, 32),
        "backbone.activation": "gelu",
        "optimiser.clip_norm": None,
        "optimiser.eps": 1e-300,
        "training.steps": 5,
        "loss.margin": "soft",
        "settings": {"a key": [1, 2.5, True, "x"], "deep": {"n": [], "s": {}}, "targets": ["q"]},
    }
    config = replace_values(RunConfig(), values)
    assert config.optimiser.clip_norm is None
    again = resolve_config(recipe(tmp_path, to_toml(config)), {})
    # The shipped recipe of the method lies below and fills what the file does not say.
    assert replace_values(again, {"settings": config.settings}) == config
    assert config.settings.items() <= again.settings.items()


def test_what_is_not_set_stays_not_set(tmp_path: Path) -> None:
    config = replace_values(resolve_config(None, {"method": "lora"}), {"backbone.image_size": None})
    text = to_toml(config)
    assert 'image_size = "auto"' in text
    assert 'steps = "none"' in text
    assert resolve_config(recipe(tmp_path, text), {}) == config  # though the recipe lora says 256x128


def test_toml_is_commented() -> None:
    class Own(BaseModel):
        rank: int = Field(default=1, description="how many")

    config, origins = resolve_with_origins(None, {"seed": 4})
    lines = to_toml(config, origins=origins, settings_model=Own).splitlines()
    assert "seed = 4  # of everything random [flag]" in lines
    assert "rank = 8  # how many [recipe lora]" in lines
    assert "lr = 0.0003  # learning rate after the warm-up [recipe lora]" in lines
    assert all("  # " in line for line in to_toml(RunConfig()).splitlines() if " = " in line)


def test_all_problems_at_once(tmp_path: Path) -> None:
    mine = recipe(tmp_path, "augmentation = 3\n[optimizer]\nlr = 1.0\n[data]\nnoun = ''\n[backbone]\nresize = 'area'\n")
    flags = {
        "optimiser.lrr": 1,
        "training.batch_size": -3,
        "training.epochs": 2.0,
        "training.device": "gpu",
        "lr": 3,
        "loss.margin": "hard",
        "backbone.image_size": "256",
        "optimiser.betas": [0.9, 1.0],
        "optimiser.lr": float("nan"),
        "seed": "x",
    }
    lines = problems(flags, mine)
    wanted = {
        "13 settings are wrong:",
        'optimizer: unknown setting. Did you mean "optimiser"?',
        'optimiser.lrr: unknown setting. Did you mean "lr"?',
        'lr: unknown setting. Did you mean "optimiser.lr"?',
        "training.batch_size: must be greater than 0, but is -3",
        "training.epochs: must be a valid integer, but is 2.0",
        "training.device: must be auto, cpu, cuda, cuda:N or mps, but is 'gpu'",
        "augmentation: must be a section ([augmentation]), but is 3",
        "loss.margin: must be a number from 0 on or \"soft\", but is 'hard'",
        'backbone.image_size: must be "HEIGHTxWIDTH" in pixels, such as "256x128", but is \'256\'',
        "backbone.resize: must be 'bicubic' or 'bilinear', but is 'area'",
        "optimiser.betas: must be two numbers from 0 on and below 1, but is [0.9, 1.0]",
        "optimiser.lr: must be a finite number, but is nan",
        "seed: must be a valid integer, but is 'x'",
    }
    missing = wanted - set(lines)
    assert missing <= {"13 settings are wrong:"}, lines
    assert any(line.startswith("data.noun: must have at least 1 character") for line in lines)
    assert lines[0] == "14 settings are wrong:"
    assert len(lines) == 15


def test_an_unknown_method_is_one_of_the_problems() -> None:
    assert problems({"method": "lorra", "seed": -1})[1:] == [
        'method: unknown method "lorra". Did you mean "lora"?',
        "seed: must be greater than or equal to 0, but is -1",
    ]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"training.instances": 5}, "training: batch_size 64 is not divisible by instances 5"),
        (
            {"training.batch_size": 4},
            "training: batch_size 4 with instances 4 holds one identity, and two are needed",
        ),
        ({"training.instances": 1}, "training.instances must be at least 2 for the triplet loss, but is 1"),
        (
            {"loss.identity": 0, "loss.triplet": 0.0},
            "loss.identity, triplet, sdm, itc and cmpm are all 0, so there is nothing to learn from",
        ),
    ],
)
def test_settings_that_do_not_fit_each_other(flags: dict[str, Any], line: str) -> None:
    assert problems(flags) == ["A setting is wrong:", line]


@pytest.mark.parametrize("value", ["256x128", "256 X 128", [256, 128], (256, 128)])
def test_image_sizes(value: Any) -> None:
    assert resolve_config(None, {"backbone.image_size": value}).backbone.image_size == (256, 128)


def test_whole_numbers_serve_as_fractions_but_not_the_reverse() -> None:
    assert resolve_config(None, {"optimiser.warmup_epochs": 2}).optimiser.warmup_epochs == 2.0
    assert problems({"training.workers": True}) == [
        "A setting is wrong:",
        "training.workers: must be a valid integer, but is True",
    ]


def test_set_flags() -> None:
    given = ["optimiser.lr=1e-3", "settings.targets=['q', 'k']", "optimiser.name=adam", "data.noun=a = b", "x.y=true"]
    assert parse_set(given) == {
        "optimiser.lr": 1e-3,
        "settings.targets": ["q", "k"],
        "optimiser.name": "adam",
        "data.noun": "a = b",
        "x.y": True,
    }
    assert parse_set(["a.b=1\nc = 2"]) == {"a.b": "1\nc = 2"}  # one value, not two settings
    with pytest.raises(SettingsError, match=r"--set lr: must be section\.key=value") as caught:
        parse_set(["lr", "=3"])
    assert "--set =3" in caught.value.message


def test_a_value_and_a_section_of_one_name() -> None:
    assert "loss is given both" in problems({"loss": 1, "loss.margin": 2})[0]
    assert "loss is given both" in problems({"loss.margin": 2, "loss": 1})[0]


class Own(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rank: int = Field(default=8, gt=0)
    targets: tuple[str, ...] = ("q",)


def test_a_methods_own_settings() -> None:
    assert validate_settings(Own, {"targets": ["v"]}) == Own(targets=("v",))
    with pytest.raises(SettingsError) as caught:
        validate_settings(Own, {"rnk": 3, "rank": 0})
    assert caught.value.message.splitlines()[1:] == [
        "  settings.rank: must be greater than 0, but is 0",
        '  settings.rnk: unknown setting. Did you mean "rank"?',
    ]


def test_a_recipe_for_another_method_is_refused() -> None:
    assert "for the method" in problems({"method": "lora"}, "vpt")[0]


def test_changed_settings() -> None:
    old = resolve_config(None, {})
    new = resolve_config(
        None, {"training.workers": 0, "training.device": "cpu", "optimiser.lr": 1.0, "settings.rank": 4, "seed": 2}
    )
    assert changed_settings(old, new) == ["optimiser.lr", "seed", "settings.rank"]
    assert changed_settings(old, old) == []


def test_replaced_values_are_checked() -> None:
    with pytest.raises(SettingsError, match=r"optimiser\.lr: must be greater than 0"):
        replace_values(RunConfig(), {"optimiser.lr": 0})


def test_what_a_resumed_run_changes_is_written_as_flags():
    old = RunConfig.model_validate({"training": {"workers": 2, "memory": "8GB", "micro_batch": 4}})
    new = RunConfig.model_validate({"training": {"device": "cuda:1", "cache_frozen": "none", "checkpoint": "all"}})
    assert free_arguments(old, old) == []
    assert free_arguments(old, new) == [
        *("--device", "cuda:1", "--set", "training.workers=auto", "--set", "training.memory=none"),
        *("--checkpoint", "all", "--micro-batch", "auto", "--set", "training.cache_frozen=none"),
    ]
    found = replace_values(old, {"training.memory": "none", "training.workers": "auto"}).training
    assert (found.memory, found.workers) == (None, None)


@pytest.mark.parametrize("text", ["0", "0GB", "8", "-3GB", "8 apples", "GB", "1e9"])
def test_no_amount_of_memory(text):
    with pytest.raises(SettingsError, match="must be an amount of memory with its unit, such as"):
        resolve_config(None, {"training.memory": text})


def test_numbers_of_blocks_and_samples():
    found = resolve_config(None, {"training.checkpoint": "3", "training.micro_batch": "none"}).training
    assert (found.checkpoint, found.micro_batch) == (3, "none")
    with pytest.raises(SettingsError) as caught:
        resolve_config(None, {"training.checkpoint": "-1", "training.micro_batch": "all"})
    assert "training.checkpoint: must be auto, none, all or a number from 1 on, but is '-1'" in caught.value.message
    assert "training.micro_batch: must be auto, none or a number from 1 on, but is 'all'" in caught.value.message
