"""Python values as TOML: the standard library reads TOML and does not write it."""

from __future__ import annotations

import json
import re
from typing import Any

from reidtune.errors import SettingsError


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
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{toml_key(key)} = {toml_value(item)}' for key, item in value.items())} }}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise SettingsError(f"A recipe cannot hold {value!r}.")
