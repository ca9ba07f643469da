"""A recipe and flags become one checked :class:`RunConfig`, all problems reported at once."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from reidtune.errors import SettingsError, did_you_mean
from reidtune.recipes.emit import to_toml as to_toml
from reidtune.recipes.find import read_recipe, recipe_names
from reidtune.recipes.problems import validate
from reidtune.settings import LossSection as LossSection
from reidtune.settings import OptimiserSection as OptimiserSection
from reidtune.settings import RunConfig as RunConfig
from reidtune.settings import parse_image_size as parse_image_size

Model = TypeVar("Model", bound=BaseModel)


def resolve_config(
    recipe: str | None, flags: Mapping[str, Any], *, fallback: Mapping[str, Any] | None = None
) -> RunConfig:
    """The configuration of a run: ``flags`` over ``recipe`` over the method's shipped recipe over the defaults.

    See :func:`resolve_with_origins`.
    """
    return resolve_with_origins(recipe, flags, fallback=fallback)[0]


def resolve_with_origins(
    recipe: str | None,
    flags: Mapping[str, Any],
    *,
    fallback: Mapping[str, Any] | None = None,
    task: str = "image",
) -> tuple[RunConfig, dict[str, str]]:
    """The configuration and where each of its values (by dotted name) came from: default, a recipe, or a flag.

    ``recipe`` is a shipped name, a TOML file or a run folder. ``flags`` and ``fallback`` map dotted names to values,
    and ``None`` means not given; ``fallback`` lies just above the defaults (the backbone ``tiny`` for demo data).
    The shipped recipe of a method on the backbone ``tiny`` is ``METHOD-tiny`` where there is one, else ``METHOD``; of a
    method for several tasks, ``METHOD-text-tiny`` and ``METHOD-text`` on text data. It is left out where ``recipe``
    names a shipped one.

    Raises :class:`SettingsError` with one line for each problem.
    """
    given = read_recipe(recipe) if recipe is not None else {}
    flagged, below = _nest(flags), _nest(fallback or {})
    method = flagged.get("method", given.get("method", "lora"))
    if "method" in given and method != given["method"]:
        raise SettingsError(
            f'The recipe {recipe} is for the method "{given["method"]}", but --method says "{method}".',
            "Leave one of the two out.",
        )
    layers = [("default", below)]
    if recipe is None or recipe not in recipe_names():
        backbone = next((name for layer in (flagged, given, below) if (name := _backbone_name(layer))), None)
        names = recipe_names()
        base = f"{method}-{task}" if f"{method}-{task}" in names else method
        candidates = [f"{base}-tiny", base] if backbone == "tiny" else [base]
        if shipped := next((name for name in candidates if name in names), None):
            layers.append((f"recipe {shipped}", read_recipe(shipped)))
    layers += [(f"recipe {recipe}", given), ("flag", flagged)]

    merged: dict[str, Any] = {"method": method}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        merged = _overlay(merged, layer)
        origins |= dict.fromkeys(_flatten(layer), origin)
    config = validate(RunConfig, merged, extra=_method_problems(method))
    return config, {name: origins.get(name, "default") for name in flatten(config)}


def validate_settings(model: type[Model], settings: Mapping[str, Any]) -> Model:
    """A method's own settings through its own pydantic ``model``; raises :class:`SettingsError`, a line a problem."""
    return validate(model, dict(settings), prefix="settings.")


def replace_values(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """``config`` with some values, by dotted name, replaced and everything checked again."""
    changed = config.model_dump()
    for name, value in values.items():
        *sections, key = name.split(".")
        place = changed
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return validate(RunConfig, changed)


def parse_set(items: Iterable[str]) -> dict[str, Any]:
    """``section.key=value`` strings of ``--set`` as flags. Values are TOML; what is no TOML is taken as a string."""
    flags: dict[str, Any] = {}
    problems = []
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name.strip():
            problems.append(f"--set {item}: must be section.key=value")
            continue
        try:
            parsed = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            parsed = {}
        flags[name.strip()] = parsed["value"] if set(parsed) == {"value"} else text.strip()
    if problems:
        raise SettingsError("\n".join(problems), "For example: --set optimiser.lr=1e-3")
    return flags


def flatten(config: RunConfig) -> dict[str, Any]:
    """Every value of ``config`` by its dotted name, such as ``optimiser.lr``."""
    return _flatten(config.model_dump())


FREE = ("device", "workers", "image_cache", "memory", "checkpoint", "micro_batch", "cache_frozen")
"""Settings of [training] with which a resumed run may go on otherwise than it began."""


def changed_settings(old: RunConfig, new: RunConfig) -> list[str]:
    """Dotted names of the settings that differ and change a result; those that change nothing but speed and memory do
    not count."""
    before, after = flatten(old), flatten(new)
    names = sorted({*before, *after} - {f"training.{name}" for name in FREE})
    return [name for name in names if before.get(name) != after.get(name)]


def free_arguments(old: RunConfig, new: RunConfig) -> list[str]:
    """The words of a command line that make a run begun as ``old`` go on as ``new``, where only :data:`FREE` settings
    differ."""
    found = []
    for name in FREE:
        value = getattr(new.training, name)
        if value == getattr(old.training, name):
            continue
        if value is None or name in ("image_cache", "cache_frozen"):
            word = "none" if name == "memory" else "auto"
            found += ["--set", f"training.{name}={word if value is None else value}"]
        else:
            found += [f"--{name.replace('_', '-')}", str(value)]
    return found


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        if value is None:
            continue
        section, *rest = name.split(".")
        layer = value
        for part in reversed(rest):
            layer = {part: layer}
        if section in nested and isinstance(nested[section], dict) != isinstance(layer, dict):
            raise SettingsError(f"{name}: {section} is given both as a value and as a section.")
        nested = _overlay(nested, {section: layer})
    return nested


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlay(merged[key], value) if both else value
    return merged


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            flat[key] = value
    return flat


def _backbone_name(layer: Mapping[str, Any]) -> Any:
    section = layer.get("backbone")
    return section.get("name") if isinstance(section, dict) else None


def _method_problems(method: Any) -> list[str]:
    from reidtune.methods.registry import method_names

    known = method_names()
    if not isinstance(method, str) or method in known:
        return []  # a wrong type is pydantic's to report
    return [f'method: unknown method "{method}".{did_you_mean(method, known) or " Known: " + ", ".join(known) + "."}']
