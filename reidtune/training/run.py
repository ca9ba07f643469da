"""A run: made ready, trained, and what it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reidtune.backbone.load import Backbone
from reidtune.config import RunConfig, to_toml
from reidtune.data import label_map
from reidtune.data.keep import keep_pixels
from reidtune.data.reading import reading
from reidtune.data.record import Dataset
from reidtune.delta import write_delta
from reidtune.delta.write import versions
from reidtune.errors import ReidtuneError, SettingsError
from reidtune.files import remove_partials
from reidtune.launch import launched, program
from reidtune.methods.registry import find_method
from reidtune.team import ALONE, Team
from reidtune.training.compiled import compiled
from reidtune.training.folder import data_arguments, start_folder
from reidtune.training.footprint import set_recomputed, towers_of
from reidtune.training.loop import Reporter, Task, train
from reidtune.training.memory_plan import settle
from reidtune.training.out_of_memory import OutOfMemory
from reidtune.training.precision import hold_in_bf16
from reidtune.training.prepare import Prepared, delta_header, prepare
from reidtune.training.schedule import plan_steps, sampler_for
from reidtune.training.smaller import with_fixes
from reidtune.training.start import take_values
from reidtune.training.state import STATE_FILE, load_state
from reidtune.training.stop import StopRequest, stop_signals
from reidtune.training.validation import Validation


@dataclass
class Run:
    """One training to come: on ``sources`` (several are joined) with ``config`` into the folder ``output``."""

    sources: tuple[str, ...]
    config: RunConfig
    origins: dict[str, str]
    output: Path
    resumes: bool = False
    init_from: Path | None = None
    dataset: Dataset | None = None  # where it was listed to find out its task
    team: Team = ALONE
    otherwise: tuple[str, ...] = ()  # flags with which it goes on otherwise than it began

    def recipe_text(self, origins: bool = False) -> str:
        """The complete recipe, with the origin of each value if wanted."""
        page = find_method(self.config.method)
        return to_toml(self.config, origins=self.origins if origins else None, settings_model=page.Settings)

    def prepare(self, say: Callable[[str], None] = lambda sentence: None) -> Prepared:
        """Everything checked and loaded; see :func:`reidtune.training.prepare.prepare`."""
        with self.team.agreed():
            return prepare(self.sources, self.config, say, self.dataset, self.team)

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Within, the run is one of the processes that torchrun started; nothing changes where it started none.

        Raises:
            SettingsError: they cannot have the device of the settings.
            ProcessLost: one of them ended before it was here.
        """
        if launched() is None:
            yield
            return
        from reidtune.training.distributed import joined

        with joined(self.config.training.device) as self.team:
            yield

    def train(
        self, prepared: Prepared, reporter: Reporter, say: Callable[[str], None] = lambda sentence: None
    ) -> dict[str, Any]:
        """Train, and return the object that ``train --json`` prints; ``say`` gets sentences for the user.

        Raises:
            SettingsError: the data or the backbone of a resumed run changed.
            Interrupted: Ctrl-C or SIGTERM; see :func:`reidtune.training.loop.train`.
        """
        with stop_signals() as stop:
            stop.phase = "during"
            result = self._train(prepared, reporter, stop, say)
            stop.phase = "after"
            return result

    def _train(
        self, prepared: Prepared, reporter: Reporter, stop: StopRequest, say: Callable[[str], None]
    ) -> dict[str, Any]:
        config, model, backbone, team = self.config, prepared.model, prepared.model.backbone, self.team
        identity = {"data": prepared.dataset.manifest()["hash"], "backbone": backbone.fingerprint["digest"]}
        team.check_equal({**identity, **versions()})
        finished = False
        with team.agreed():
            if self.resumes:
                finished = self._check_identity(identity)
            elif self.init_from is not None:
                take_values(self.init_from, prepared)
            if team.writes:
                self._start_folder(backbone)

        if config.training.precision == "bf16":
            hold_in_bf16(model)
            if backbone.device.type == "cpu":
                say("bf16 is slower than fp32 on a processor without bf16 arithmetic.")
        micro_batch = None if finished else settle(prepared, say, -(-config.training.batch_size // team.size))

        def save(path: Path, metrics: dict[str, Any]) -> None:
            if not team.writes:
                return
            try:
                write_delta(path, model.tuner.tensors(), delta_header(prepared, metrics))
            except ReidtuneError as error:
                if not isinstance(error.__cause__, OSError):
                    raise
                raise ReidtuneError(error.message, f"Make room, then go on with: {task.resume_command}") from error

        task = Task(
            config=config,
            model=model,
            method=prepared.method,
            kind=prepared.dataset.task,
            records=prepared.train,
            labels=label_map(prepared.train),
            validate=Validation(prepared, say, team) if prepared.validation else None,
            save=save,
            run=self.output,
            identity=identity,
            say=say,
            micro_batch=micro_batch,
            otherwise=self.otherwise,
            command=f"{program()} train {data_arguments(self.sources)}",
            frozen=prepared.frozen,
            team=team,
        )
        plan = plan_steps(prepared.method.stages(), len(sampler_for(prepared.train, config)), config)
        trained = [] if prepared.frozen.reads_no_image else prepared.train
        validated = [] if prepared.frozen_validation.reads_no_image else prepared.validation
        every = [*trained, *validated]
        again = plan.steps > plan.steps_per_epoch
        begun = time.monotonic()
        towers = towers_of(prepared) if config.training.compile and not finished else []
        if towers:
            say("Blocks are compiled in the first steps, which takes minutes.")
        try:
            mode = config.training.image_cache if every and not finished else "none"
            kept = keep_pixels(every, backbone.preprocess, mode, again, say)
            with reading(backbone.device, kept, say), compiled(towers, say):
                progress = train(task, reporter, resume=self.resumes)
        except OutOfMemory as error:
            raise with_fixes(error, prepared, task.resume_command, micro_batch, stop) from None
        finally:
            set_recomputed(prepared, 0)
        delta = self.output / "delta.safetensors"
        return {
            "schema": 1,
            "run": str(self.output),
            "delta": str(delta),
            "parameters": {"trainable": model.tuner.parameter_count(), "backbone": backbone.parameter_count()},
            "bytes": team.of_first(lambda: delta.stat().st_size),
            "seconds": round(time.monotonic() - begun, 1),
            "metrics": progress.metrics,
            "start": progress.rows[0] if progress.rows and progress.rows[0]["epoch"] == 0 else {},
        }

    def _check_identity(self, identity: dict[str, Any]) -> bool:
        """Whether the resumed run is finished, so that nothing is left to do."""
        progress, before, _ = load_state(self.output)
        for key, what in (("data", "data (files, identities, cameras, scenes or captions)"), ("backbone", "backbone")):
            if before[key] != identity[key]:
                raise SettingsError(
                    f"The {what} is not the one that the run {self.output} was started on.",
                    f"Start a new run, with --init-from {self.output} to begin with its delta.",
                )
        return progress.finished

    def _start_folder(self, backbone: Backbone) -> None:
        if not self.resumes:
            start_folder(self.output, self.recipe_text(), self.sources, backbone.device, self.init_from)
        for folder in (self.output, self.output / STATE_FILE.parent):
            remove_partials(folder)
