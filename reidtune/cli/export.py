"""``reidtune export``: a delta as a model that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reidtune.cli.console import clean, print_json, stdout
from reidtune.cli.options import Json

EXAMPLES = (
    "reidtune export runs/lora-demo --to open_clip --output merged",
    "reidtune export market.safetensors --output merged --pretrained ViT-B-16.pt",
    "reidtune export runs/full --to low-rank --rank 16 --output small.safetensors --data demo",
)


def export(
    delta: Annotated[Path, typer.Argument(help="A delta (.safetensors) or a run folder.", metavar="DELTA")],
    output: Annotated[Path, typer.Option(help="The folder (open_clip) or delta file to write.")],
    to: Annotated[str, typer.Option("--to", help="The format: open_clip, low-rank or half.")] = "open_clip",
    rank: Annotated[int | None, typer.Option(min=1, help="Rank of each matrix, with low-rank. Default: 16.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Evaluate the delta before and after here, with low-rank, half.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Where the backbone is, if it is a folder.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="The backbone's weights file, if it was a file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Merge a delta into its backbone and write a folder that plain open_clip loads, or make a full difference smaller.

    The written model is loaded again and compared with backbone + delta before it appears. low-rank keeps the strongest
    directions of every matrix of a full difference, half rounds to fp16: both lose a little, and --data says how much.
    """
    from reidtune.export.formats import export_delta

    if data is not None and to == "open_clip":
        raise typer.BadParameter("has no meaning for open_clip, which loses nothing.", param_hint="--data")
    result = export_delta(delta, to, output, backbone=backbone, pretrained=pretrained, rank=rank, force=force)
    results = []
    if data is not None:
        from reidtune.evaluation import evaluate_dataset

        results = [evaluate_dataset(data, path, backbone=backbone, pretrained=pretrained) for path in (delta, output)]
        result["evaluated"] = {"before": results[0]["metrics"], "after": results[1]["metrics"]}
    if as_json:
        print_json(result)
        return
    if to != "open_clip":
        from reidtune.report.tables import metrics_table
        from reidtune.units import format_bytes

        share = 100 * result["relative_error"]
        stdout().print(
            f"Wrote {clean(output)}: {format_bytes(result['bytes'])} instead of "
            f"{format_bytes(result['bytes_before'])}; {share:.2g} % of the delta's norm is lost.",
            soft_wrap=True,
        )
        if results:
            stdout().print(metrics_table(results))
        return
    stdout().print(
        f"Wrote {clean(output)}; its features differ from backbone + delta by at most "
        f"{result['largest_difference']:.1e} of the largest entry.",
        soft_wrap=True,
    )
    if names := result.get("modalities"):
        stdout().print(
            f"It embeds one image at a time; the feature of a sample is those of its images side by side, in the order "
            f"{clean(', '.join(names))}.",
            soft_wrap=True,
        )
    size = result.get("force_image_size")
    told = f", force_image_size=({size[0]}, {size[1]})" if size else ""
    call = f'open_clip.create_model_and_transforms("local-dir:{clean(output)}"{told})'
    stdout().print(f"Load it: {call}", soft_wrap=True)
