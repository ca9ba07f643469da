"""``reidtune backbones``: what can be tuned."""

from __future__ import annotations

from typing import Annotated

import typer

from reidtune.cli.console import print_json, stderr, stdout
from reidtune.cli.options import Json

EXAMPLES = (
    "reidtune backbones --supported",
    "reidtune backbones siglip2",
    "reidtune backbones ViT-B-16 --json",
)


def backbones(
    name: Annotated[
        str | None, typer.Argument(help="Only names with this in them; case does not matter.", metavar="NAME")
    ] = None,
    supported: Annotated[bool, typer.Option("--supported", help="Only those with an image tower.")] = False,
    as_json: Json = False,
) -> None:
    """List open_clip's architectures: whether their image and text towers can be tuned or why not, sizes, tags."""
    from reidtune.backbone.catalogue import catalogue, chosen, versions
    from reidtune.report.backbone_table import TINY, backbone_report
    from reidtune.report.progress import counting

    with counting(stderr(quiet=as_json), "Looking at architectures") as count:
        rows = catalogue(progress=count)
    tiny = name is not None and name.lower() == "tiny"  # none of open_clip's has that name
    rows = [row for row in rows if "tiny" in row["name"].lower()] if tiny else chosen(rows, name, supported)
    if supported:
        rows = [row for row in rows if row["image"]["supported"]]
    if as_json:
        print_json({"schema": 1, "versions": versions(), "backbones": rows})
        return
    if tiny or name is None:
        stdout().print(TINY)
    if rows:
        stdout().print(backbone_report(rows, versions()))
