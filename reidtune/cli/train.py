"""``reidtune train``: a dataset and a method to a delta."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from reidtune.cli.console import clean, note, print_json, stderr, stdout
from reidtune.cli.options import (
    Activation,
    Backbone,
    BatchSize,
    Checkpoint,
    Columns,
    Compile,
    Json,
    Layout,
    Memory,
    MicroBatch,
    Precision,
    Pretrained,
    Protocol,
    Quiet,
    TrainedOn,
    TrainedSize,
    Workers,
    settings_of,
)
from reidtune.cli.stopping import stops_at_once

EXAMPLES = (
    "reidtune train demo",
    "reidtune train demo --method adapter --epochs 5 --output runs/adapter",
    "reidtune train /data/Market-1501 --method lora --device cuda:0 --precision bf16 --memory 8GB",
    "torchrun --nproc-per-node 2 -m reidtune train /data/Market-1501 --method lora",
    "reidtune train cats.csv --column path=file --column identity=name --noun cat --dry-run",
    "reidtune train /data/Market-1501 --data /data/DukeMTMC-reID --data cats.csv",
    "reidtune train /data/Market-1501 --resume runs/lora-Market-1501",
)


@stops_at_once
def train(
    data: Annotated[str | None, typer.Argument(help="A folder, a CSV or JSONL table, or demo.", metavar="DATA")] = None,
    more: Annotated[
        list[str] | None,
        typer.Option("--data", help="More to train on; identities and cameras are kept apart; repeatable."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="What is trained; see reidtune methods.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A shipped recipe's name, or a TOML file.")] = None,
    backbone: Backbone = None,
    pretrained: Pretrained = None,
    activation: Activation = None,
    output: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/METHOD-DATA.")] = None,
    layout: Layout = None,
    columns: Columns = None,
    protocol: Protocol = None,
    noun: Annotated[str | None, typer.Option(help="What the images show: person, vehicle, lion …")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training identities.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps, instead of epochs.")] = None,
    batch_size: BatchSize = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate after the warm-up.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    device: TrainedOn = None,
    precision: Precision = None,
    workers: Workers = None,
    memory: Memory = None,
    checkpoint: Checkpoint = None,
    micro_batch: MicroBatch = None,
    compile_: Compile = False,
    image_size: TrainedSize = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    init_from: Annotated[Path | None, typer.Option(help="Start from this delta's values.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Any setting: section.key=value.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained; write nothing.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings and leave.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier run in the output folder.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a method on a dataset and save its delta.

    The best epoch is chosen on identities carved from the training split, never on the test split.
    """
    flags = settings_of(locals())
    from reidtune.data.layouts.columns import options_of
    from reidtune.errors import SettingsError
    from reidtune.launch import launched
    from reidtune.training.open import open_run

    launch = launched()
    first = launch is None or launch.rank == 0
    if dry_run and not first:
        return
    writes = first and not (dry_run or print_config)  # else an output folder in use is no matter
    if data is None and more:
        raise SettingsError(f"--data {more[0]} is to be joined to nothing.", f"Say: reidtune train {more[0]}")
    sources = None if data is None else [data, *(more or ())]
    run = open_run(sources, recipe, flags, output=output, resume=resume, init_from=init_from, force=force or not writes)
    if print_config and as_json:
        print_json({"schema": 1, "recipe": run.config.model_dump(), "origins": run.origins})
        return
    if print_config:
        stdout().print(clean(run.recipe_text(origins=True)), end="", soft_wrap=True)
        return
    notes = stderr(quiet=quiet or as_json)
    say = partial(note, notes)
    if dry_run:
        from reidtune.training.plan import dry_run as count

        plan = count(run.prepare(say))
        if as_json:
            print_json(plan)
        else:
            from reidtune.report.plan_table import plan_table

            stdout().print(plan_table(plan))
        return

    from reidtune.report.progress import TerminalReporter

    with run.processes(), TerminalReporter(notes) as reporter:
        result = run.train(run.prepare(say), reporter, say)
    if as_json:
        print_json(result)
        return
    from reidtune.data.join import columns_for
    from reidtune.report.tables import training_summary

    stdout().print(training_summary(result))
    data_settings = run.config.data
    mappings = columns_for(run.sources, data_settings.layout, data_settings.columns)
    for source, mapping in zip(run.sources, mappings, strict=True):
        words = ["reidtune", "evaluate", source, "--delta", result["run"], *options_of(mapping)]
        command = " ".join(map(shlex.quote, words))
        stdout().print(f"Evaluate it: {clean(command)}", soft_wrap=True)
