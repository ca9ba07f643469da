"""Where output goes: results to stdout, everything else to stderr, JSON alone on stdout."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def stdout() -> Console:
    """The console for results. Plain text when piped; no colours with ``NO_COLOR``."""
    from rich.console import Console

    return Console(highlight=False)


def stderr(quiet: bool = False) -> Console:
    """The console for progress, notes and errors; with ``quiet`` it swallows everything."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, quiet=quiet)


def clean(value: Any) -> str:
    """``value`` as text for a terminal: control characters of a foreign file become visible instead of acting, and
    square brackets are no markup."""
    from rich.markup import escape

    return escape(_CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", str(value)))


def note(console: Console, sentence: str) -> None:
    """A sentence: wrapped between words on a terminal, one line in a file."""
    console.print(clean(sentence), soft_wrap=not console.is_terminal)


def print_error(message: str, hint: str = "", label: str = "Error:") -> None:
    """``Error: message`` in red and the hint below it, on stderr."""
    console = stderr()
    console.print(f"[bold red]{label}[/] {clean(message)}" if label else clean(message), soft_wrap=True)
    if hint:
        console.print(clean(hint), soft_wrap=True)


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on stdout, and nothing else: NaN and infinities become null, paths strings, scalars numbers."""
    sys.stdout.write(json.dumps(_plain(values), indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # tensors, arrays and their scalars
        return _plain(value.tolist())
    return str(value)
