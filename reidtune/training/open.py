"""Opening a run, new or resumed: its settings resolved and refused before anything is written or read of its images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reidtune.config import (
    RunConfig,
    changed_settings,
    free_arguments,
    replace_values,
    resolve_with_origins,
    validate_settings,
)
from reidtune.data.join import open_datasets
from reidtune.data.record import Dataset
from reidtune.errors import ReidtuneError, SettingsError
from reidtune.methods.base import EVERYTHING
from reidtune.methods.registry import find_method
from reidtune.model import default_backbone
from reidtune.training.folder import RECIPE_FILE, holds_run, name_of, read_beginning
from reidtune.training.run import Run
from reidtune.training.state import STATE_FILE


def open_run(
    source: str | Sequence[str] | None,
    recipe: str | None,
    flags: dict[str, Any],
    *,
    output: Path | None = None,
    resume: Path | None = None,
    init_from: Path | None = None,
    force: bool = False,
    dataset: Dataset | None = None,
) -> Run:
    """Resolve the settings of a run, new or resumed; several datasets are joined. Nothing is written, no image is read.
    A new run takes ``dataset`` where the source is listed already.

    Raises:
        SettingsError: wrong settings (all of them named), an output folder that is in use, or a resumed run whose
            settings changed (named).
    """
    sources = () if source is None else (source,) if isinstance(source, str) else tuple(source)
    if resume is not None:
        return _open_resumed(sources, recipe, flags, resume, output or init_from)
    if not sources:
        raise SettingsError("Say what to train on.", "For example: reidtune train demo")
    fallback = {"backbone.name": default_backbone(*sources)}
    config, origins = resolve_with_origins(recipe, flags, fallback=fallback)
    if len(find_method(config.method).tasks) > 1:  # its shipped recipe depends on what the data is
        dataset = dataset or _listed(sources, config)
        if dataset is not None and dataset.task != "image":
            config, origins = resolve_with_origins(recipe, flags, fallback=fallback, task=dataset.task)
    config = _complete(config)
    folder = output or Path("runs") / f"{config.method}-{name_of(sources)}"
    if folder.exists() and not force and (not folder.is_dir() or any(folder.iterdir())):
        go_on = f", or go on with it: --resume {folder}" if (folder / STATE_FILE).is_file() else ""
        raise SettingsError(
            f"The output folder {folder} is not empty.", f"Choose another --output, replace it with --force{go_on}."
        )
    return Run(sources, config, origins, folder, init_from=init_from, dataset=dataset)


def _listed(sources: Sequence[str], config: RunConfig) -> Dataset | None:
    """The dataset; ``None`` where it is bad, which is said when the run is prepared."""
    try:
        return open_datasets(sources, config.data.layout, config.data.protocol, config.data.columns)
    except ReidtuneError:
        return None


def _open_resumed(
    sources: tuple[str, ...], recipe: str | None, flags: dict[str, Any], run: Path, other: Path | None
) -> Run:
    if recipe is not None or other is not None:
        raise SettingsError("A resumed run keeps its recipe, its output folder and its start.", "Give --resume alone.")
    if not holds_run(run):
        raise SettingsError(f"{run} holds no run to resume.", "Give the folder that a run was written to.")
    old, origins = resolve_with_origins(str(run / RECIPE_FILE), {})
    old = _complete(old)
    try:
        new = _complete(resolve_with_origins(str(run / RECIPE_FILE), flags)[0])
        changed = changed_settings(old, new)
    except SettingsError as error:
        if flags.get("method") in (None, old.method):
            raise
        raise SettingsError("A resumed run keeps its settings, but these changed: method.", error.hint) from error
    if changed:
        raise SettingsError(
            f"A resumed run keeps its settings, but these changed: {', '.join(changed)}.",
            f"Resume without them, or start a new run (with --init-from {run} to begin with its delta).",
        )
    begun = (run / STATE_FILE).is_file()  # else it was killed before it was: it starts again
    start = None
    if not sources or not begun:
        places, start = read_beginning(run)
        sources = sources or places
    otherwise = tuple(free_arguments(old, new))
    return Run(sources, new, origins, run, begun, None if begun else start, otherwise=otherwise)


def _complete(config: RunConfig) -> RunConfig:
    """The method's own settings with their defaults filled in, so that the saved recipe says everything."""
    settings = validate_settings(find_method(config.method).Settings, config.settings)
    return replace_values(config, {"settings": settings.model_dump(mode="json", context=EVERYTHING)})
