"""The training loop. Read it from top to bottom."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reidtune.config import RunConfig
from reidtune.data.batch import Batch
from reidtune.data.record import Record
from reidtune.data.waiting import Waiting
from reidtune.data.workers import choose_workers
from reidtune.errors import DataError, ReidtuneError
from reidtune.methods.base import Method, Stage
from reidtune.model import Model
from reidtune.seeds import derive_seed, seeded
from reidtune.training.batches import BatchSource
from reidtune.training.optimiser import build_optimiser, set_learning_rate
from reidtune.training.schedule import plan_steps, sampler_for, stage_settings
from reidtune.training.state import Interrupted, Progress, load_state, save_state, stop_signals
from reidtune.training.step import forward

_SAVE_SECONDS = 300.0  # within an epoch, the state is saved this often


class Reporter(Protocol):
    """Who is told how a run goes."""

    def start(self, done: int, steps: int) -> None: ...

    def step(self, step: int, loss: float) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...


@dataclass
class Task:
    """Everything that a training needs, made ready by :mod:`reidtune.training.run`.

    ``records`` are the samples: of one caption each where ``kind`` is ``text``. ``labels`` maps identities to classes
    0..C−1; ``validate`` gives metrics of the model as it is, or ``None`` without a validation set; ``save`` writes the
    delta file of the tuner as it is. ``identity`` is what a resumed run must agree with.
    """

    config: RunConfig
    model: Model
    method: Method
    kind: str  # image, text or multimodal
    records: list[Record]
    labels: dict[int, int]
    validate: Callable[[], dict[str, Any]] | None
    save: Callable[[Path, dict[str, Any]], None]
    run: Path
    identity: dict[str, Any]
    resume_command: str
    say: Callable[[str], None] = lambda sentence: None  # told what is worth knowing meanwhile


def train(task: Task, reporter: Reporter, resume: bool = False) -> Progress:
    """Train the tuner of ``task.model`` and leave the best (by validation mAP) or the last delta in the run folder.

    Augmentation, dropout and the order of images are functions of (seed, epoch, position in the epoch), so a resumed
    run equals an uninterrupted one, bit for bit, on the same machine and thread count (on CUDA, as far as its kernels
    are deterministic).

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
        ReidtuneError: the loss is not finite; bad data raises DataError. The last good state stays.
    """
    config, model, run = task.config, task.model, task.run
    tuner, device = model.tuner, model.backbone.device
    source = BatchSource(task.records, task.labels, task.kind == "text", model.backbone, config, model.modalities)
    plan = plan_steps(task.method.stages(), len(sampler_for(task.records, config)), config)
    with seeded(derive_seed("heads", config.seed)):
        objective = task.method.objective(
            tuner, model.backbone, len(task.labels), config.loss, task.kind, model.modalities
        ).to(device)

    progress = Progress()
    saved: dict[str, Any] = {}
    if resume:
        progress, _, saved = load_state(run)
        tuner.load_state_dict(saved["tuner"])
        objective.load_state_dict(saved["objective"])
    optimiser = _enter_stage(plan.stages[progress.stage], task, objective)

    def encode(batch: Batch, place: int) -> dict[str, Tensor]:
        # Components of other packages may draw from torch's own generator: a part computed twice draws the same.
        torch.manual_seed(derive_seed("step", config.seed, progress.step, *([place] if place else [])))
        with autocast(model, config.training.precision):
            return task.method.encode(model, batch)

    if resume:
        optimiser.load_state_dict(saved["optimiser"])

    def keep() -> None:
        modules: dict[str, Any] = {"tuner": tuner, "objective": objective, "optimiser": optimiser}
        save_state(run, progress, task.identity, {name: module.state_dict() for name, module in modules.items()})

    reporter.start(progress.step, plan.steps)
    if not resume:
        if task.validate is not None:
            progress.rows.append({"epoch": 0, "step": 0, **_prefixed(task.validate())})
            reporter.epoch(progress.rows[-1])
        keep()
    last_save = time.monotonic()
    workers = choose_workers(config.training.workers, device)
    waiting = Waiting(task.say, workers)
    with stop_signals() as stop, torch.random.fork_rng():
        while progress.step < plan.steps or progress.batch:  # a state may lie between the last step and its epoch's end
            # An epoch is cut where its stage ends: another epoch, another stage, another optimiser.
            left = plan.ends[progress.stage] - progress.step
            stage = plan.stages[progress.stage]
            chosen = sampler_for(task.records, config, stage).batches(progress.epoch)[: left + progress.batch]
            batches = source.batches(
                chosen,
                progress.epoch,
                start=progress.batch,
                images=stage.images,
                workers=workers,
            )
            tuner.train()
            objective.train()
            for batch in _kept_on_bad_data(waiting.through(batches), keep):
                rate = plan.learning_rate(progress.step, config)
                set_learning_rate(optimiser, rate)
                done = forward(encode, objective, batch.to(device), parts_of=config.training.micro_batch)
                if not math.isfinite(value := done.loss.item()):
                    raise ReidtuneError(
                        f"The loss became {value} at step {progress.step + 1} (epoch {progress.epoch + 1}).",
                        f"Lower the learning rate ({rate:g} in that step). An earlier state is kept in {run}.",
                    )
                optimiser.zero_grad(set_to_none=True)
                done.backward()
                if config.optimiser.clip_norm is not None:
                    everything = [p for group in optimiser.param_groups for p in group["params"]]
                    torch.nn.utils.clip_grad_norm_(everything, config.optimiser.clip_norm)
                optimiser.step()

                progress.step += 1
                progress.batch += 1
                for name, part in {"loss": done.loss, **done.parts}.items():
                    progress.sums[name] = progress.sums.get(name, 0.0) + part.item()
                reporter.step(progress.step, value)
                if stop:
                    keep()
                    raise _interrupted(task, progress, plan.steps, stop.number)
                if time.monotonic() - last_save > _SAVE_SECONDS:
                    keep()
                    last_save = time.monotonic()

            waiting.end_of_epoch((plan.steps - progress.step) / plan.steps_per_epoch)
            _finish_epoch(task, progress, reporter, plan.steps, stage.validate)
            if progress.stage != plan.stage_index(progress.step):
                progress.stage = plan.stage_index(progress.step)
                progress.best = progress.best_epoch = None  # a delta of an unfinished method is no candidate
                progress.metrics = {}
                (run / "best.safetensors").unlink(missing_ok=True)
                optimiser = _enter_stage(plan.stages[progress.stage], task, objective)
            keep()
            last_save = time.monotonic()
            if stop and progress.step < plan.steps:
                raise _interrupted(task, progress, plan.steps, stop.number)
    tuner.eval()
    if not progress.finished:
        best, final = run / "best.safetensors", run / "delta.safetensors"
        if best.exists():
            best.replace(final)
        elif progress.best is None or not final.exists():  # else the run was stopped between the renaming and here
            task.save(final, progress.metrics)
        progress.finished = True
        keep()
    return progress


def _enter_stage(stage: Stage, task: Task, heads: nn.Module) -> torch.optim.Optimizer:
    """Freeze what the stage does not train, let the method prepare, and start a new optimiser on the rest."""
    tuner = task.model.tuner
    for name, parameter in tuner.named_parameters():
        parameter.requires_grad_(stage.trains(name))
    tuner.eval()
    with torch.no_grad(), autocast(task.model, task.config.training.precision):
        task.method.begin(stage, task.model, task.records)
    settings = stage_settings(stage, task.config)
    return build_optimiser(tuner, heads if stage.heads else nn.Module(), settings, stage.trains)


def _kept_on_bad_data(batches: Iterator[Batch], keep: Callable[[], None]) -> Iterator[Batch]:
    """Pass batches on; where a file cannot be read, save the state, so that the run can go on once it is mended."""
    try:
        yield from batches
    except DataError:
        keep()
        raise


def _finish_epoch(task: Task, progress: Progress, reporter: Reporter, steps: int, validates: bool) -> None:
    """Average the losses, validate, keep the best delta, write the table of epochs."""
    config = task.config
    progress.epoch += 1
    row: dict[str, Any] = {"epoch": progress.epoch, "step": progress.step}
    row |= {name: value / progress.batch for name, value in progress.sums.items()}
    due = progress.epoch % config.training.validate_every == 0 or progress.step >= steps
    if task.validate is not None and validates and due:
        metrics = task.validate()
        row |= _prefixed(metrics)
        if progress.best is None or metrics["mAP"] > progress.best:
            progress.best, progress.best_epoch = metrics["mAP"], progress.epoch
            progress.metrics = {**metrics, "epoch": progress.epoch}
            task.save(task.run / "best.safetensors", progress.metrics)
    progress.rows.append(row)
    progress.batch = 0
    progress.sums = {}
    _write_table(task.run / "metrics.csv", progress.rows)
    reporter.epoch(row)


def autocast(model: Model, precision: str) -> torch.autocast:
    return torch.autocast(model.backbone.device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def _prefixed(metrics: dict[str, Any]) -> dict[str, Any]:
    return {f"validation {name}": metrics[name] for name in ("rank-1", "mAP") if name in metrics}


def _interrupted(task: Task, progress: Progress, steps: int, number: int | None) -> Interrupted:
    message = f"Interrupted at step {progress.step} of {steps}; nothing is lost, the state is in {task.run}."
    return Interrupted(message, f"Go on with: {task.resume_command}", number or 2)


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    columns: dict[str, None] = {}
    for row in rows[::-1]:  # the last row knows all losses; the first has none
        columns |= dict.fromkeys(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)
    temporary = path.with_suffix(".partial")
    try:
        temporary.write_text(text.getvalue())
        temporary.replace(path)
    except OSError as error:
        raise ReidtuneError(
            f"{path} could not be written: {error.strerror}.", "Make room and resume the run."
        ) from error
