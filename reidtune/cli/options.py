"""Options that several commands have, so that they read and behave alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

Backbone = Annotated[str | None, typer.Option(help="open_clip name, tiny, or local-dir:FOLDER.")]
Pretrained = Annotated[str | None, typer.Option(help="Tag or weights file; none: seeded random.")]
Activation = Annotated[str | None, typer.Option(help="gelu or quick_gelu, where a file does not tell.")]
ImageSize = Annotated[str | None, typer.Option(help="HEIGHTxWIDTH in pixels, without a delta.")]
Layout = Annotated[str | None, typer.Option(help="How the data lies on disk. Default: recognised.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="Which column of a table is its path, path_rgb …, identity, camera, scene, split, caption, modality or "
        "sample, such as identity=name; repeatable.",
        metavar="NAME=COLUMN",
    ),
]
Protocol = Annotated[str | None, typer.Option(help="What a ranking ignores. Default: the layout's.")]
Modalities = Annotated[
    str | None, typer.Option(help="What is known of multi-modal samples, such as rgb,nir. Default: all they have.")
]
Cameras = Annotated[
    str | None,
    typer.Option(
        help="Of a delta with embeddings of cameras: known (the data's cameras are those trained with), mean (of the "
        "embeddings) or none. Default: known for the dataset that it was trained on."
    ),
]
BatchSize = Annotated[int | None, typer.Option(help="Images a batch.")]
TrainedOn = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda:0 or mps.")]
TrainedSize = Annotated[str | None, typer.Option("--image-size", help="HEIGHTxWIDTH in pixels, such as 256x128.")]
Precision = Annotated[str | None, typer.Option(help="fp32 or bf16.")]
Workers = Annotated[int | None, typer.Option(help="Processes that read images.")]
Memory = Annotated[str | None, typer.Option(help="What a training may take at the most, such as 8GB.")]
Checkpoint = Annotated[
    str | None, typer.Option(help="Blocks computed again in the backward pass: auto, none, all or a number.")
]
MicroBatch = Annotated[
    str | None, typer.Option(help="Samples in the towers at once, the loss still of the batch: auto, none, N.")
]
Compile = Annotated[bool, typer.Option("--compile", help="torch.compile, where it works.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda:0 or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.")]

_SETTINGS = {
    "method": "method",
    "seed": "seed",
    "backbone": "backbone.name",
    "pretrained": "backbone.pretrained",
    "activation": "backbone.activation",
    "image_size": "backbone.image_size",
    "layout": "data.layout",
    "protocol": "data.protocol",
    "noun": "data.noun",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "device": "training.device",
    "precision": "training.precision",
    "workers": "training.workers",
    "memory": "training.memory",
    "checkpoint": "training.checkpoint",
    "micro_batch": "training.micro_batch",
    "lr": "optimiser.lr",
}


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, by dotted name, from the ``options`` of a command that trains, by its parameters' names;
    ``None`` where nothing was said. What ``--set`` says comes last.

    Raises:
        SettingsError: both epochs and steps, or an option of which the words are wrong.
    """
    from reidtune.config import parse_set
    from reidtune.data.layouts.columns import parse_columns
    from reidtune.errors import SettingsError

    epochs, steps = options["epochs"], options["steps"]
    if epochs is not None and steps is not None:
        raise SettingsError("--epochs and --steps both say how long to train.", "Leave one of the two out.")
    return {
        **{name: options[option] for option, name in _SETTINGS.items() if option in options},
        "data.columns": parse_columns(options["columns"] or ()) or None,
        "training.steps": "none" if epochs is not None else steps,  # else the steps of a recipe would win
        "training.compile": True if options["compile_"] else None,
        **parse_set(options["settings"] or ()),
    }
