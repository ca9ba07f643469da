"""``reidtune export``: a delta as a model that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reidtune.cli.console import clean, print_json, stdout

EXAMPLES = (
    "reidtune export runs/lora-demo --to open_clip --output merged",
    "reidtune export market.safetensors --output merged --pretrained ViT-B-16.pt",
)


def export(
    delta: Annotated[Path, typer.Argument(help="A delta (.safetensors) or a run folder.", metavar="DELTA")],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    to: Annotated[str, typer.Option("--to", help="The format: open_clip.")] = "open_clip",
    backbone: Annotated[str | None, typer.Option(help="Where the backbone is, if it is a folder.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="The backbone's weights file, if it was a file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Merge a delta into its backbone and write a folder that plain open_clip loads.

    The written model is loaded again and compared with backbone + delta before it appears.
    """
    from reidtune.export.formats import export_delta

    result = export_delta(delta, to, output, backbone=backbone, pretrained=pretrained, force=force)
    if as_json:
        print_json(result)
        return
    stdout().print(
        f"Wrote {clean(output)}; its features differ from backbone + delta by at most "
        f"{result['largest_difference']:.1e} of the largest entry.",
        soft_wrap=True,
    )
    stdout().print(f'Load it: open_clip.create_model_and_transforms("local-dir:{clean(output)}")', soft_wrap=True)
