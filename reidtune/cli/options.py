"""Options that several commands have, so that they read and behave alike."""

from __future__ import annotations

from typing import Annotated

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
Device = Annotated[str, typer.Option(help="auto, cpu, cuda:0 or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.")]
