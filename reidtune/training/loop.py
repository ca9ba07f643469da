"""The training loop. Read it from top to bottom."""

from __future__ import annotations

import csv
import io
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reidtune.config import RunConfig
from reidtune.data.batch import Batch
from reidtune.data.record import Record
from reidtune.data.waiting import Waiting
from reidtune.data.workers import choose_workers, told_in_words
from reidtune.errors import ReidtuneError
from reidtune.files import not_written, rename, write_whole
from reidtune.methods.base import Method, Stage
from reidtune.model import Model
from reidtune.seeds import derive_seed, seeded
from reidtune.team import ALONE, Team
from reidtune.training.batches import BatchSource
from reidtune.training.frozen import Frozen
from reidtune.training.guard import Guard
from reidtune.training.not_finite import BAD_BATCH, LAST_GOOD, Measured, measure, not_finite
from reidtune.training.optimiser import build_optimiser, set_learning_rate
from reidtune.training.precision import autocast
from reidtune.training.schedule import plan_steps, sampler_for, stage_settings
from reidtune.training.state import Progress, load_state
from reidtune.training.step import forward
from reidtune.training.stop import stop_signals


class Reporter(Protocol):
    """Who is told how a run goes."""

    def start(self, done: int, steps: int) -> None: ...

    def step(self, step: int, loss: float) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...


@dataclass
class Task:
    """Everything that a training needs, made ready by :mod:`reidtune.training.run`.

    ``records`` are the samples: of one caption each where ``kind`` is ``text``; ``frozen`` says what of them is
    computed once. ``labels`` maps identities to classes 0..C−1; ``validate`` gives metrics of the model as it is, or
    ``None`` without a validation set; ``save`` writes the delta file of the tuner as it is. ``identity`` is what a
    resumed run must agree with, ``team`` the processes that train together: all hold the same tensors, and compute
    their share of each batch.
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
    command: str  # that trains on this data
    otherwise: tuple[str, ...] = ()  # flags with which it goes on otherwise than it began
    micro_batch: int | None = None  # samples that go through the towers at once
    save_seconds: float = 300.0  # within an epoch, the state is saved this often
    say: Callable[[str], None] = lambda sentence: None  # told what is worth knowing meanwhile
    frozen: Frozen | None = None
    team: Team = ALONE

    @property
    def resume_command(self) -> str:
        return f"{self.command} {shlex.join(['--resume', str(self.run), *self.otherwise])}"


def train(task: Task, reporter: Reporter, resume: bool = False) -> Progress:
    """Train the tuner of ``task.model`` and leave the best (by validation mAP) or the last delta in the run folder.

    Augmentation, dropout and the order of images are functions of (seed, epoch, position in the epoch), so a resumed
    run equals an uninterrupted one, bit for bit, on the same machine and thread count (on CUDA, as far as its kernels
    are deterministic).

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
        OutOfMemory, and ReidtuneError where the loss or a gradient is not finite or a file cannot be written; bad data
            raises DataError. The state before the step in hand is saved, if it can be.
    """
    config, model, run, team = task.config, task.model, task.run, task.team
    tuner, device = model.tuner, model.backbone.device
    source = BatchSource(task.records, task.labels, task.kind == "text", model.backbone, config, model.modalities)
    plan = plan_steps(task.method.stages(), len(sampler_for(task.records, config)), config)
    with seeded(derive_seed("heads", config.seed)), autocast(model, config.training.precision):
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
        number = place * team.size + team.rank
        torch.manual_seed(derive_seed("step", config.seed, progress.step, *([number] if number else [])))
        with autocast(model, config.training.precision):
            return task.method.encode(model, batch)

    if resume:
        optimiser.load_state_dict(saved["optimiser"])
    gpus = [device] if device.type == "cuda" else []  # and no other, which would be woken by it
    guard = Guard(run, progress, task.identity, task.resume_command, tuner, objective, optimiser, team.writes)
    reporter.start(progress.step, plan.steps)
    with stop_signals() as stop, guard.leaving(stop, plan.steps), told_in_words(), torch.random.fork_rng(gpus):
        if not resume:
            guard.keep()
        if task.validate is not None and not progress.rows:
            with guard.apart("the validation"):
                metrics = task.validate()
            progress.rows.append({"epoch": 0, "step": 0, **_prefixed(metrics)})
            reporter.epoch(progress.rows[-1])
        rows = None
        if task.frozen is not None and progress.step < plan.steps:
            with guard.apart("what is computed once"):
                before = progress.frozen if progress.step else None
                rows = task.frozen.open(plan.stages[progress.stage :], before, task.say, team)
            progress.frozen = rows is not None
        begun = exchange = None
        workers = choose_workers(config.training.workers, device)
        waiting = Waiting(task.say, workers)
        while progress.step < plan.steps or progress.batch:  # a state may lie between the last step and its epoch's end
            # An epoch is cut where its stage ends: another epoch, another stage, another optimiser.
            left = plan.ends[progress.stage] - progress.step
            stage = plan.stages[progress.stage]
            if stage is not begun:
                with guard.apart(f'the beginning of the stage "{stage.name}"'):
                    _begin(stage, task)
                exchange = team.exchange(tuner, objective)
                begun = stage
            chosen = sampler_for(task.records, config, stage).batches(progress.epoch)[: left + progress.batch]
            batches = source.batches(
                chosen,
                progress.epoch,
                start=progress.batch,
                images=stage.images,
                frozen=rows if rows is not None and rows.serves(stage) else None,
                workers=workers,
                share=team.share,
            )
            tuner.train()
            objective.train()
            for batch in team.together(waiting.through(batches)):
                rate = plan.learning_rate(progress.step, config)
                set_learning_rate(optimiser, rate)
                with guard.computing():
                    own = batch.to(device)
                    done = forward(encode, objective, own, parts_of=task.micro_batch, exchange=exchange)
                    optimiser.zero_grad(set_to_none=True)
                    done.backward()
                    trained = [value for group in optimiser.param_groups for value in group["params"]]
                    measured = measure(done.loss, done.parts, trained, config.optimiser.clip_norm)
                    if not measured.finite():
                        raise _not_finite(task, measured, batch, progress, rate, stage)
                with guard.moving():
                    optimiser.step()
                    progress.step += 1
                    progress.batch += 1
                    for name, value in {"loss": measured.loss, **measured.parts}.items():
                        progress.sums[name] = progress.sums.get(name, 0.0) + value
                reporter.step(progress.step, measured.loss)
                stopped = team.largest(stop.number or 0)
                if stopped or time.monotonic() - guard.saved > task.save_seconds:
                    guard.keep()
                if stopped:
                    team.wait()  # until it is saved
                    raise guard.interrupted(stopped, plan.steps)

            waiting.end_of_epoch((plan.steps - progress.step) / plan.steps_per_epoch)
            _finish_epoch(task, progress, reporter, plan.steps, stage.validate, guard)
            if progress.stage != plan.stage_index(progress.step):
                with guard.moving():
                    progress.stage = plan.stage_index(progress.step)
                    progress.best = progress.best_epoch = None  # a delta of an unfinished method is no candidate
                    progress.metrics = {}
                    if team.writes:
                        (run / "best.safetensors").unlink(missing_ok=True)
                    guard.optimiser = optimiser = _enter_stage(plan.stages[progress.stage], task, objective)
            guard.keep()
            stopped = team.largest(stop.number or 0)
            if stopped and progress.step < plan.steps:
                raise guard.interrupted(stopped, plan.steps)
        if not progress.finished and team.writes:
            _finish(task, progress)
            guard.keep()
        team.wait()
    tuner.eval()
    return progress


def _finish(task: Task, progress: Progress) -> None:
    """Leave the delta; also where an earlier attempt was stopped in the midst of it."""
    best, final = task.run / "best.safetensors", task.run / "delta.safetensors"
    task.model.tuner.eval()
    if progress.best is not None and best.exists():
        try:
            rename(best, final)
        except OSError as error:
            raise not_written(final, error, f"Go on with: {task.resume_command}") from error
    elif progress.best is None or not final.exists():  # else the run was stopped between the renaming and here
        task.save(final, progress.metrics)
    for left in (BAD_BATCH, LAST_GOOD):  # of a step that has succeeded since
        (task.run / left).unlink(missing_ok=True)
    progress.finished = True


def _enter_stage(stage: Stage, task: Task, heads: nn.Module) -> torch.optim.Optimizer:
    """Freeze what the stage does not train, and start a new optimiser on the rest."""
    tuner = task.model.tuner
    for name, parameter in tuner.named_parameters():
        parameter.requires_grad_(stage.trains(name))
    settings = stage_settings(stage, task.config)
    return build_optimiser(tuner, heads if stage.heads else nn.Module(), settings, stage.trains)


def _begin(stage: Stage, task: Task) -> None:
    """Let the method prepare what stays fixed through the stage."""
    task.model.tuner.eval()
    with torch.no_grad(), autocast(task.model, task.config.training.precision):
        task.method.begin(stage, task.model, task.records)


def _finish_epoch(
    task: Task, progress: Progress, reporter: Reporter, steps: int, validates: bool, guard: Guard
) -> None:
    """Average the losses, validate, keep the best delta, write the table of epochs. Until all of that is done
    ``progress`` stays as it is, so that the end of the epoch can be done again."""
    epoch, best = progress.epoch + 1, None
    row: dict[str, Any] = {"epoch": epoch, "step": progress.step}
    row |= {name: value / progress.batch for name, value in progress.sums.items()}
    due = epoch % task.config.training.validate_every == 0 or progress.step >= steps
    if task.validate is not None and validates and due:
        with guard.apart("the validation"):
            metrics = task.validate()
        row |= _prefixed(metrics)
        if progress.best is None or metrics["mAP"] > progress.best:
            best = {**metrics, "epoch": epoch}
            task.save(task.run / "best.safetensors", best)
    table = task.run / "metrics.csv"
    try:
        if task.team.writes:
            write_whole(table, _table([*progress.rows, row]))
    except OSError as error:
        raise not_written(table, error, f"Make room, then go on with: {task.resume_command}") from error
    if best is not None:
        progress.best, progress.best_epoch, progress.metrics = best["mAP"], epoch, best
    progress.rows.append(row)
    progress.epoch, progress.batch, progress.sums = epoch, 0, {}
    reporter.epoch(row)


def _not_finite(
    task: Task, measured: Measured, batch: Batch, progress: Progress, rate: float, stage: Stage
) -> ReidtuneError:
    assert batch.indices is not None
    indices = task.team.rows(batch.indices).tolist()
    lower = "" if "lr" in stage.optimiser else f" --lr {task.config.optimiser.lr / 3:.2g}"  # a stage may have its own
    return task.team.of_first(
        lambda: not_finite(
            measured,
            step=progress.step + 1,
            epoch=progress.epoch + 1,
            rate=rate,
            indices=indices,
            records=task.records,
            named=lambda: list(task.model.tuner.named_parameters()),
            run=task.run,
            save=lambda path: task.save(path, {}),
            again=task.resume_command,
            anew=f"{task.command}{lower}",
        )
    )


def _prefixed(metrics: dict[str, Any]) -> dict[str, Any]:
    return {f"validation {name}": metrics[name] for name in ("rank-1", "mAP") if name in metrics}


def _table(rows: list[dict[str, Any]]) -> str:
    columns: dict[str, None] = {}
    for row in rows[::-1]:  # the last row knows all losses; the first has none
        columns |= dict.fromkeys(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)
    return text.getvalue()
