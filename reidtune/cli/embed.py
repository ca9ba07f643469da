"""``reidtune embed``: features of images, or of lines of text, to a ``.npy`` file with a table beside it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from reidtune.cli.console import clean, note, print_json, stderr, stdout
from reidtune.cli.options import (
    Activation,
    Backbone,
    Cameras,
    Columns,
    Device,
    ImageSize,
    Json,
    Modalities,
    Pretrained,
    Quiet,
)

EXAMPLES = (
    "reidtune embed photos --delta runs/market --output photos.npy",
    "reidtune embed /data/Market-1501 --delta runs/market --split test --output test.npy",
    "reidtune evaluate --features test.npy --labels test.csv",
    "reidtune embed --text captions.txt --delta runs/cskt --output captions.npy",
    "reidtune embed triplets --delta runs/dmpt --output triplets.npy",
)


def embed(
    output: Annotated[Path, typer.Option(help="The .npy file of features; the table is the .csv of the same name.")],
    source: Annotated[
        str | None,
        typer.Argument(help="Any folder of images, a dataset's folder, a table, or demo.", metavar="FOLDER"),
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="Instead of images: a text file, of which every line that is not blank counts.")
    ] = None,
    delta: Annotated[Path | None, typer.Option(help="Delta file or run folder. Default: the backbone alone.")] = None,
    backbone: Backbone = None,
    pretrained: Pretrained = None,
    activation: Activation = None,
    image_size: ImageSize = None,
    layout: Annotated[
        str | None,
        typer.Option(help="How a dataset lies on disk; none: any folder, no labels. Default: recognised."),
    ] = None,
    columns: Columns = None,
    split: Annotated[
        str | None, typer.Option(help="Of a dataset: train, val, query, gallery, or test (both). Default: all.")
    ] = None,
    modalities: Modalities = None,
    modality: Annotated[
        str | None, typer.Option(help="Of which modality all images of a folder without labels are.")
    ] = None,
    cameras: Cameras = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images (or lines) a batch.")] = 64,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read images; default: by the device and its cores.")
    ] = None,
    device: Device = "auto",
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out images that cannot be read, instead of stopping.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the output where it exists.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the features of images or texts to a file, for whatever is to be done with them.

    The .npy file holds float32 [N, D], L2-normalised; the table beside it has a row for each with its path, and, of a
    dataset in a known layout, split, identity, camera and scene. Folders inside a folder count; rows are sorted by
    path, those of a dataset by split.
    """
    from reidtune.data.layouts.columns import parse_columns
    from reidtune.embedding import embed_to_file
    from reidtune.report.progress import counting
    from reidtune.report.tables import embed_summary

    notes = stderr(quiet=quiet or as_json)
    with counting(notes, "Embedding") as count:
        result = embed_to_file(
            source,
            output,
            None if str(delta) == "none" else delta,
            text=text,
            backbone=backbone,
            pretrained=pretrained,
            activation=activation,
            image_size=image_size,
            layout=layout,
            columns=parse_columns(columns or ()),
            splits=None if split is None else [word.strip() for word in split.split(",") if word.strip()],
            modalities=None if modalities is None else [word for word in modalities.split(",") if word.strip()],
            modality=modality,
            cameras=cameras,
            batch_size=batch_size,
            workers=workers,
            device=device,
            skip_broken=skip_broken,
            force=force,
            say=lambda sentence: note(notes, sentence),
            progress=count,
        )
    if as_json:
        print_json(result)
    else:
        counts = result["counts"]
        stdout().print(embed_summary(result))
        if result.get("protocol") and (counts.get("test") or (counts.get("query") and counts.get("gallery"))):
            files = [shlex.quote(result[key]) for key in ("output", "table")]
            command = f"reidtune evaluate --features {files[0]} --labels {files[1]} --protocol {result['protocol']}"
            stdout().print(f"Evaluate them: {clean(command)}", soft_wrap=True)
