"""One run of a comparison: counted, trained, evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from reidtune.backbone.load import load_backbone
from reidtune.comparison.measured import MEASURED_FILE, Measured, Watch
from reidtune.comparison.rows import Row
from reidtune.comparison.settings import Settings
from reidtune.config import RunConfig
from reidtune.data.record import Dataset, identities
from reidtune.delta import find_delta, read_file
from reidtune.devices import choose_device
from reidtune.evaluation import RESULT_FILE, evaluate_dataset
from reidtune.model import Model, load
from reidtune.report.output import write_result
from reidtune.training.folder import holds_run
from reidtune.training.loop import Reporter
from reidtune.training.plan import dry_run
from reidtune.training.prepare import Prepared
from reidtune.training.schedule import plan_steps, sampler_for

Say = Callable[[str], None]
Counting = Callable[[], AbstractContextManager[Callable[[int, int], None]]]


def count(settings: Settings, row: Row, seed: int, folder: Path) -> dict[str, int]:
    """Trainable parameters, about the bytes of a delta, and the activation bytes that autograd keeps for a sample.
    What is worth knowing of the row is said when it is trained."""
    plan = dry_run(settings.open(row, seed, folder).prepare())
    kept = plan["memory"]["activation_bytes_per_image"]
    return {"parameters": plan["parameters"]["trainable"], "bytes": plan["bytes"], "activation_bytes": kept}


def budget_of(prepared: Prepared) -> dict[str, Any]:
    """What all runs of one seed must have alike: optimiser steps, samples a batch, and who is validated on."""
    config = prepared.config
    plan = plan_steps(prepared.method.stages(), len(sampler_for(prepared.train, config)), config)
    held = sorted(identities(prepared.validation))
    return {
        "steps": plan.steps,
        "batch_size": config.training.batch_size,
        "training_samples": len(prepared.train),
        "validation_identities": len(held),
        "validation_hash": hashlib.sha256("\n".join(map(str, held)).encode()).hexdigest(),
    }


def train_and_test(
    settings: Settings,
    row: Row,
    seed: int,
    folder: Path,
    measured: Measured,
    tests: Sequence[Dataset],
    *,
    check: Callable[[Prepared], None],
    anew: bool,
    say: Say,
    reporter: Callable[[], AbstractContextManager[Reporter]],
    counting: Counting,
) -> None:
    """Train the run in ``folder``, or go on with it, and evaluate its delta; ``measured`` is completed and written.
    ``check`` is asked before the first step.

    Raises what preparing, training and evaluating raise; the measurement so far is written also then.
    """
    if anew or not holds_run(folder):
        run = settings.open(row, seed, folder)
        (folder / MEASURED_FILE).unlink(missing_ok=True)
    else:
        run = settings.reopen(folder)
    prepared = run.prepare(say)
    measured.budget = budget_of(prepared)
    check(prepared)
    measured.device, measured.threads = str(prepared.model.backbone.device), torch.get_num_threads()

    def keep() -> None:
        if folder.is_dir():
            measured.write(folder)

    try:
        with reporter() as told:
            watch = Watch(told, measured, _samples_per_step(prepared), keep)
            trained = run.train(prepared, watch, say)
    finally:
        keep()
    delta = read_file(find_delta(folder))
    results = evaluate(settings, folder, tests, say, counting)
    write_result(results[0] if len(results) == 1 else {"schema": 1, "results": results}, folder / RESULT_FILE)
    measured.digest, measured.bytes = delta.header.digest, delta.bytes
    measured.parameters = trained["parameters"]["trainable"]
    measured.validation, measured.tests = dict(delta.header.metrics), results
    keep()


def evaluate(
    settings: Settings, delta: Path | None, tests: Sequence[Dataset], say: Say, counting: Counting
) -> list[dict[str, Any]]:
    """A delta, or with ``None`` the very backbone that is trained on, on each of ``tests``."""
    config = settings.config
    loaded: list[Model] = []

    def model() -> Model:
        if not loaded:
            loaded.append(_backbone(config) if delta is None else _tuned(config, delta))
        return loaded[0]

    options: dict[str, Any] = {"workers": config.training.workers, "device": config.training.device, "say": say}
    with counting() as progress:
        return [evaluate_dataset(test, delta, models=model, progress=progress, **options) for test in tests]


def _backbone(config: RunConfig) -> Model:
    chosen = config.backbone
    assert chosen.name is not None  # opening a run has filled it in
    found = load_backbone(
        chosen.name,
        chosen.pretrained,
        image_size=chosen.image_size,
        resize=chosen.resize,
        activation=chosen.activation,
        device=choose_device(config.training.device),
    )
    return Model(found)


def _tuned(config: RunConfig, delta: Path) -> Model:
    """Loaded anew: the numbers are those of the file."""
    chosen = config.backbone
    switches: dict[str, Any] = {"pretrained": chosen.pretrained, "activation": chosen.activation}
    return load(delta, backbone=chosen.name, device=config.training.device, **switches)


def _samples_per_step(prepared: Prepared) -> float:
    """Of whole batches their size; where an epoch ends in a smaller one, the mean."""
    batches = sampler_for(prepared.train, prepared.config).batches(0)
    return sum(map(len, batches)) / len(batches)
