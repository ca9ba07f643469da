"""Options that take several values at once: ``--features query.npy gallery.npy``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand


def taking_several(*options: str) -> type[TyperCommand]:
    """A command of which these options, which must be repeatable, take every value up to the next option."""

    class Command(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            return super().parse_args(ctx, spread(args, options))

    return Command


def spread(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """``--features a b`` as ``--features a --features b``, for those of ``options``."""
    found: list[str] = []
    option, values = "", 0  # the one whose values are being read, and how many there were
    rest = False
    for argument in arguments:
        rest = rest or argument == "--"
        if rest or argument.startswith("-"):
            name, equals, _ = argument.partition("=")
            option, values = (name, int(bool(equals))) if name in options and not rest else ("", 0)
        elif option:
            if values:
                found.append(option)
            values += 1
        found.append(argument)
    return found
