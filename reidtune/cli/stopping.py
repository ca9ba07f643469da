"""Ctrl-C and SIGTERM before a training: nothing is to be saved, so it stops at once and says how to start again."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec

from reidtune.launch import program
from reidtune.training.stop import Interrupted, StopNow, stop_signals

COMMAND_LINE: ContextVar[tuple[str, ...]] = ContextVar("COMMAND_LINE", default=())
"""The arguments that ``reidtune`` was called with."""

P = ParamSpec("P")
_SAID = {
    "before": "Stopped before the training began; nothing was written.",
    "during": "Stopped at once.",
    "after": "Stopped after the training; its delta is whole.",
}


def stops_at_once(command: Callable[P, None]) -> Callable[P, None]:
    """A command that a signal stops at once while it prepares; its training handles signals itself.

    Raises:
        Interrupted: with the command line as the hint, if no training had begun.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with stop_signals() as stop:
            try:
                with stop.at_once():
                    command(*args, **kwargs)
            except StopNow as now:
                hint = "" if stop.phase == "after" else _again()
                raise Interrupted(_SAID[stop.phase], hint, now.number) from None

    return run


def _again() -> str:
    given = COMMAND_LINE.get()
    return f"Start it again with: {program()} {shlex.join(given)}" if given else ""
