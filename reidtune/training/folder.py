"""The folder of a run: what it says of its beginning, written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from reidtune.data.open import DEMOS
from reidtune.delta.write import versions
from reidtune.errors import ReidtuneError, SettingsError
from reidtune.files import reason, whole_file
from reidtune.training.not_finite import BAD_BATCH, LAST_GOOD
from reidtune.training.state import STATE_FILE

RECIPE_FILE = "recipe.toml"
ENVIRONMENT_FILE = "environment.json"
_LONGEST_NAME = 100  # letters
_RESULTS = ("delta.safetensors", "best.safetensors", "metrics.csv", "evaluate.json")


def name_of(sources: Sequence[str]) -> str:
    """What a run on ``sources`` is called, for a folder."""
    names = [
        source.replace(":", "-") if source in DEMOS else Path(source).expanduser().resolve().stem for source in sources
    ]
    return re.sub(r"[^\w.-]+", "-", "+".join(names))[:_LONGEST_NAME] or "data"


def data_arguments(sources: Sequence[str]) -> str:
    """``A --data B --data C``, quoted for a shell."""
    return " --data ".join(shlex.quote(source) for source in sources)


def start_folder(run: Path, recipe: str, sources: Sequence[str], device: object, init_from: Path | None) -> None:
    """Write recipe and environment into the folder of a run. Files of an earlier run in it are removed once the new
    ones are written under other names, and the recipe gets its name last: a folder with a recipe holds one run.

    Raises:
        ReidtuneError: the folder cannot be written; an earlier run in it is whole.
    """
    places = [source if source in DEMOS else str(Path(source).expanduser().resolve()) for source in sources]
    environment: dict[str, Any] = {
        "data": places if len(places) > 1 else places[0],
        **({} if init_from is None else {"init_from": str(init_from.expanduser().resolve())}),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    texts = (recipe, json.dumps(environment, indent=2) + "\n")
    try:
        run.mkdir(parents=True, exist_ok=True)
        with whole_file(run / RECIPE_FILE) as first, whole_file(run / ENVIRONMENT_FILE) as second:
            for file, text in zip((first, second), texts, strict=True):
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())  # a full disk says so here, before anything is removed
            for name in (RECIPE_FILE, STATE_FILE, BAD_BATCH, LAST_GOOD, ENVIRONMENT_FILE, *_RESULTS):
                (run / name).unlink(missing_ok=True)
    except OSError as error:
        raise ReidtuneError(
            f"The run folder {run} could not be written: {reason(error)}.", "Make room, or choose another --output."
        ) from error


def holds_run(run: Path) -> bool:
    """Whether a run can go on in this folder: from its state, or, where it was killed before it had one, from its
    beginning. A folder with results but without a state is that of a run whose state was removed."""
    if not (run / RECIPE_FILE).is_file():
        return False
    fresh = (run / ENVIRONMENT_FILE).is_file() and not any((run / name).exists() for name in _RESULTS)
    return (run / STATE_FILE).is_file() or fresh


def read_beginning(run: Path) -> tuple[tuple[str, ...], Path | None]:
    """What a run was trained on, and the delta that it began with.

    Raises:
        SettingsError: the folder does not say.
    """
    try:
        found = json.loads((run / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
        places, start = found["data"], found.get("init_from")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{run} does not say what it was trained on.", "Give DATA as well.") from error
    return tuple(map(str, places)) if isinstance(places, list) else (str(places),), Path(start) if start else None
