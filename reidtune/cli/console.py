"""Where output goes: results to stdout, everything else to stderr, JSON alone on stdout."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_PACKAGE = Path(__file__).parents[1]
# Control characters, those that turn the direction of text, and bytes of file names that are no UTF-8.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


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

    return escape(_CONTROL.sub(lambda match: ascii(match[0])[1:-1], str(value)))


def note(console: Console, sentence: str) -> None:
    """A sentence: wrapped between words on a terminal, one line in a file."""
    console.print(clean(sentence), soft_wrap=not console.is_terminal)


def print_error(message: str, hint: str = "", label: str = "Error:") -> None:
    """``Error: message`` in red and the hint below it, on stderr."""
    console = stderr()
    console.print(f"[bold red]{label}[/] {clean(message)}" if label else clean(message), soft_wrap=True)
    if hint:
        console.print(clean(hint), soft_wrap=True)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Within, our own warnings are sentences on stderr, and Pillow does not warn of images that are refused anyway."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: Any) -> None:
            if Path(filename).is_relative_to(_PACKAGE):
                print_error(str(message), label="Warning:")
            else:
                before(message, category, filename, lineno, *more)

        warnings.showwarning = show  # type: ignore[assignment]
        warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
        yield


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
