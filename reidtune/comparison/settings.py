"""What all rows of a comparison share, above all the budget, and what is each row's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reidtune.comparison.rows import SHARED, Row
from reidtune.config import FREE as FREE_NAMES
from reidtune.config import RunConfig, changed_settings, flatten, replace_values, resolve_config, validate_settings
from reidtune.data.record import Dataset
from reidtune.errors import SettingsError
from reidtune.methods.base import EVERYTHING
from reidtune.methods.registry import find_method
from reidtune.recipes.emit import OFF
from reidtune.training.folder import RECIPE_FILE
from reidtune.training.open import open_run
from reidtune.training.run import Run

FREE = tuple(f"training.{name}" for name in FREE_NAMES)  # a comparison may go on with others
LENGTH = ("training.epochs", "training.steps")  # one of them says the other's part


@dataclass(frozen=True)
class Settings:
    """The settings of all runs on ``dataset``: ``given`` is what the user said, by dotted name, and ``config`` the
    first row's, whose sections :data:`reidtune.comparison.rows.SHARED` all rows have."""

    sources: tuple[str, ...]
    dataset: Dataset
    given: Mapping[str, Any]
    config: RunConfig
    data_name: str

    @property
    def shared(self) -> dict[str, Any]:
        """The shared settings by dotted name."""
        return {name: value for name, value in flatten(self.config).items() if name.partition(".")[0] in SHARED}

    def open(self, row: Row, seed: int, folder: Path) -> Run:
        """The run of a row from its beginning, as ``reidtune train`` would open it. Nothing is written.

        Raises:
            SettingsError: settings are wrong; the row is named.
        """
        shared = {name: _as_flag(name, value) for name, value in self.shared.items()}
        return _open(self.sources, self.dataset, row, {**self.given, **shared, **row.flags, "seed": seed}, folder)

    def reopen(self, folder: Path) -> Run:
        """The run that was begun in ``folder``, on the device, with the workers and in the memory of now."""
        flags = {name: _as_flag(name, self.shared[name]) for name in FREE}
        run = open_run(self.sources, None, flags, resume=folder)
        return replace(run, dataset=self.dataset)

    def set_aside(self, row: Row) -> dict[str, Any]:
        """What the row's own recipe says otherwise and nobody asked for, by dotted name: it has the shared value."""
        run = _open(self.sources, self.dataset, row, {**self.given, **row.flags, "seed": self.config.seed}, None)
        own, said = flatten(run.config), {name for name, value in self.given.items() if value is not None}
        said.update(LENGTH if said & set(LENGTH) else (), FREE)
        return {name: own[name] for name, value in self.shared.items() if name not in said and own[name] != value}

    def changed(self, row: Row, seed: int, folder: Path) -> list[str]:
        """Dotted names of the settings of an earlier run in ``folder`` that are others now; none without a run."""
        if not (folder / RECIPE_FILE).is_file():
            return []
        before = resolve_config(str(folder / RECIPE_FILE), {})
        # A recipe of an earlier version lacks what that did not know: its default.
        own = validate_settings(find_method(before.method).Settings, before.settings)
        before = replace_values(before, {"settings": own.model_dump(mode="json", context=EVERYTHING)})
        return changed_settings(before, self.open(row, seed, folder).config)


def settle(
    sources: Sequence[str], dataset: Dataset, given: Mapping[str, Any], rows: Sequence[Row], seed: int
) -> Settings:
    """The settings of a comparison: what is not ``given`` of the shared sections is that of the first row's recipe.

    Raises:
        SettingsError: settings are wrong.
    """
    run = _open(sources, dataset, rows[0], {**given, **rows[0].flags, "seed": seed}, None)
    name = run.output.name.removeprefix(f"{run.config.method}-")
    return Settings(tuple(sources), dataset, given, run.config, name)


def _open(sources: Sequence[str], dataset: Dataset, row: Row, flags: Mapping[str, Any], folder: Path | None) -> Run:
    try:
        return open_run(sources, row.recipe, dict(flags), output=folder, force=True, dataset=dataset)
    except SettingsError as error:
        raise SettingsError(f"{row.name}: {error.message}", error.hint) from error


def _as_flag(name: str, value: Any) -> Any:
    """Flags that are ``None`` are not given; a recipe's value would win."""
    return value if value is not None else "none" if name in OFF else "auto"
