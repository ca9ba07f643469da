"""``reidtune compare``: methods on one dataset with the same budget, to a table and a plot."""

from __future__ import annotations

import shlex
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
from reidtune.cli.several import taking_several
from reidtune.cli.stopping import COMMAND_LINE, stops_at_once
from reidtune.errors import SettingsError

EXAMPLES = (
    "reidtune compare demo --epochs 3 --seeds 1 2",
    "reidtune compare demo --methods lora lora:rank=32 vpt:deep=false --steps 100",
    "reidtune compare /data/Market-1501 --methods all --seeds 1 2 3 --output market",
    "reidtune compare demo:text --methods dm-adapter cskt --recipe mine.toml --seeds 1",
    "reidtune compare /data/Market-1501 --methods lora adapter --set optimiser.lr=1e-3 --batch-size 64",
)
COMMAND = taking_several("--methods", "--seeds", "--recipe")


@stops_at_once
def compare(
    data: Annotated[str | None, typer.Argument(help="A folder, a CSV or JSONL table, or demo.", metavar="DATA")] = None,
    more: Annotated[
        list[str] | None,
        typer.Option("--data", help="More to train on, joined; every delta is tested on each; repeatable."),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="What is compared: METHOD, or METHOD:key=value,… with settings of its own or section.key=value; or "
            "all. Default: four that fit the data.",
            metavar="METHOD …",
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="Further rows: shipped recipes or TOML files.", metavar="RECIPE …"),
    ] = None,
    seeds: Annotated[
        list[str] | None, typer.Option(help="Every row is trained with each. Default: 1 2 3.", metavar="SEED …")
    ] = None,
    backbone: Backbone = None,
    pretrained: Pretrained = None,
    activation: Activation = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the runs, table and plots. Default: runs/compare-DATA.")
    ] = None,
    layout: Layout = None,
    columns: Columns = None,
    protocol: Protocol = None,
    noun: Annotated[str | None, typer.Option(help="What the images show: person, vehicle, lion …")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Budget of every row. Default: that of the first row's recipe.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="The same in optimiser steps, instead of epochs.")] = None,
    batch_size: BatchSize = None,
    device: TrainedOn = None,
    precision: Precision = None,
    workers: Workers = None,
    memory: Memory = None,
    checkpoint: Checkpoint = None,
    micro_batch: MicroBatch = None,
    compile_: Compile = False,
    image_size: TrainedSize = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, for all rows: section.key=value.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Begin anew where the output folder is in use.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train methods on one dataset with the same budget and several seeds, and compare them on its test split.

    All rows have the same data, validation identities, batches, steps and image size.

    What no option says of these is as in the recipe of the first row; the rest is as each method's recipe has it.

    The backbone alone is the first line. Each run is an ordinary one, in OUTPUT/METHOD-seedN, and is tested there.

    The same command again goes on where it stopped, and trains only what is not there yet.
    """
    if data is None:
        raise SettingsError("DATA is missing.", "Say it first: reidtune compare demo --methods lora vpt")
    flags = settings_of(locals())
    from reidtune.comparison.compare import SEEDS
    from reidtune.comparison.compare import compare as compare_methods
    from reidtune.report.comparison_table import comparison_table
    from reidtune.report.progress import TerminalReporter, counting

    notes = stderr(quiet=quiet or as_json)
    said: set[str] = set()

    def say(sentence: str) -> None:
        if sentence not in said:
            note(notes, sentence)
        said.add(sentence)

    words = [word for word in COMMAND_LINE.get() if word != "--force"]  # which would begin anew again
    result = compare_methods(
        [data, *(more or [])],
        methods or (),
        recipe or (),
        _numbers(seeds) if seeds else SEEDS,
        flags,
        output=output,
        force=force,
        again=shlex.join(["reidtune", *words]),
        say=say,
        reporter=lambda: TerminalReporter(notes),
        counting=lambda: counting(notes, "Embedding"),
    )
    if as_json:
        print_json(result)
    else:
        stdout().print(comparison_table(result))
        stdout().print(f"\nWritten: {clean(result['output'])}/compare.json, .csv, .png, .html", soft_wrap=True)
    if not result["finished"]:
        raise typer.Exit(1)  # the table says which row failed


def _numbers(texts: list[str]) -> list[int]:
    words = [word for text in texts for word in text.split(",") if word.strip()]
    try:
        return [int(word) for word in words]
    except ValueError as error:
        raise SettingsError(
            f"--seeds {' '.join(texts)}: seeds are whole numbers.", "For example: --seeds 1 2 3"
        ) from error
