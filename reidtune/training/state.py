"""What a run needs to go on exactly where it stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from reidtune.errors import ReidtuneError, SettingsError
from reidtune.files import not_written, whole_file

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
    frozen: bool = False  # reads rows that were computed once


def save_state(
    run: Path, progress: Progress, identity: dict[str, Any], modules: dict[str, Any], command: str = ""
) -> None:
    """Write ``state/last.pt`` atomically. ``identity`` says which run this is, ``modules`` holds state dicts, and
    ``command`` goes on with the run.

    Raises:
        ReidtuneError: it cannot be written; the earlier state is untouched.
    """
    path = run / STATE_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            torch.save({"format": FORMAT, "progress": vars(progress), "identity": identity, **modules}, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        hint = f"Make room, then go on with: {command or f'reidtune train --resume {run}'}"
        raise not_written(path, error, hint, "The state ") from error


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
