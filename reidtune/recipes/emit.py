"""A configuration as TOML: the standard library reads TOML and does not write it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from reidtune.errors import SettingsError

OFF = (
    "training.steps",
    "training.memory",
    "optimiser.clip_norm",
    "loss.metric",
)  # unset they are "none", everything else is "auto"


def to_toml(
    config: BaseModel, *, origins: Mapping[str, str] | None = None, settings_model: type[BaseModel] | None = None
) -> str:
    """A run's configuration as a complete recipe, with each setting's description, and its origin with ``origins``.

    Reading it back gives an equal configuration. ``settings_model`` lends descriptions to the method's settings.
    """
    top, sections = [], []
    for key, field in type(config).model_fields.items():
        value = getattr(config, key)
        if isinstance(value, BaseModel):
            fields, values = type(value).model_fields, {name: getattr(value, name) for name in type(value).model_fields}
        elif isinstance(value, dict):
            fields, values = (settings_model.model_fields if settings_model else {}), value
        else:
            top.append(_line(key, key, value, field.description, origins))
            continue
        lines = [
            _line(name, f"{key}.{name}", item, fields[name].description if name in fields else None, origins)
            for name, item in values.items()
        ]
        sections.append("\n".join([f"[{key}]", *lines]))
    return "\n\n".join(["\n".join(top), *sections]) + "\n"


def _line(key: str, name: str, value: Any, description: str | None, origins: Mapping[str, str] | None) -> str:
    if value is None:
        value = "none" if name in OFF else "auto"
    if name == "backbone.image_size" and isinstance(value, tuple):
        value = f"{value[0]}x{value[1]}"
    text = f"{toml_key(key)} = {toml_value(value)}"
    notes = [note for note in (description, f"[{_origin(name, origins)}]" if origins else None) if note]
    return f"{text}  # {' '.join(notes)}" if notes else text


def _origin(name: str, origins: Mapping[str, str]) -> str:
    """Where a value came from; of a dictionary, where its entries did."""
    entries = dict.fromkeys(origin for key, origin in origins.items() if key.startswith(f"{name}."))
    return origins.get(name) or ", ".join(entries) or "default"


def toml_key(key: str) -> str:
    """``key`` as TOML, quoted where it must be."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def toml_value(value: Any) -> str:
    """A boolean, number, string, list or dictionary as TOML; :class:`SettingsError` for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if value == {}:
        return "{}"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{toml_key(key)} = {toml_value(item)}' for key, item in value.items())} }}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise SettingsError(f"A recipe cannot hold {value!r}.")
