"""What a run needs to go on exactly where it stopped, and the signals that stop it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from reidtune.errors import ReidtuneError, SettingsError

STATE_FILE = Path("state") / "last.pt"
FORMAT = 1


@dataclass
class Progress:
    """Where a run is: the epoch and the batches done in it, optimiser steps, sums of the epoch's losses, the best
    validation so far, and a row per finished epoch."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_epoch: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False


def save_state(run: Path, progress: Progress, identity: dict[str, Any], modules: dict[str, Any]) -> None:
    """Write ``state/last.pt`` atomically. ``identity`` says which run this is, ``modules`` holds state dicts.

    Raises:
        ReidtuneError: it cannot be written; the earlier state is untouched.
    """
    path = run / STATE_FILE
    temporary = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, "progress": vars(progress), "identity": identity, **modules}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        with contextlib.suppress(OSError):
            temporary.unlink()
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ReidtuneError(
            f"The state of the run {run} could not be saved: {reason}. The state before it is untouched.",
            f"Make room, then go on with: reidtune train --resume {run}",
        ) from error


def load_state(run: Path) -> tuple[Progress, dict[str, Any], dict[str, Any]]:
    """Progress, identity and module states of a run folder. Pickled code is refused (``weights_only``).

    Raises:
        SettingsError: the folder holds no state.
        ReidtuneError: the state cannot be read.
    """
    path = run / STATE_FILE
    if not path.is_file():
        raise SettingsError(f"{run} holds no state to resume from ({STATE_FILE}).", "Give the folder of a run.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != FORMAT:
            raise ReidtuneError(f"The state in {run} was written by another version of reidtune.")
        return Progress(**content.pop("progress")), content.pop("identity"), content
    except ReidtuneError:
        raise
    except Exception as error:
        raise ReidtuneError(f"The state {path} cannot be read: {error}", "Start the run again.") from error


class Interrupted(ReidtuneError):  # noqa: N818 - not a failure
    """The user (or the system) asked the run to stop; its state is saved."""

    def __init__(self, message: str, hint: str, number: int = signal.SIGINT) -> None:
        super().__init__(message, hint)
        self.number = number
        self.exit_code = 128 + number


class StopRequest:
    """Becomes set at the first Ctrl-C or SIGTERM; a second one stops at once."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number


@contextlib.contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Within, Ctrl-C and SIGTERM are requests that the loop honours after the step in hand."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, request._receive) for kind in kinds}
    try:
        yield request
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
