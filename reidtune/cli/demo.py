"""``reidtune demo``: write the demo world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reidtune.cli.console import clean, print_json, stderr, stdout
from reidtune.cli.options import Json

EXAMPLES = ("reidtune demo world", "reidtune demo world --seed 7 --identities 40", "reidtune train world/image")


def demo(
    directory: Annotated[Path, typer.Argument(help="Where to write it.", metavar="DIR")],
    seed: Annotated[int, typer.Option(help="Another seed, another world of people.")] = 0,
    identities: Annotated[int, typer.Option(help="How many people; at least 4.")] = 100,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Render a small world of people in three layouts: DIR/image, DIR/text, DIR/multimodal.

    The same seed gives the same files. The word demo in place of a folder means this world with seed 0.
    """
    from reidtune.demo.world import KINDS, render_world
    from reidtune.report.progress import counting

    with counting(stderr(quiet=quiet or as_json), "Rendering people") as count:
        render_world(directory, seed=seed, identities=identities, progress=count)
    if as_json:
        folders = {kind: str(directory / kind) for kind in KINDS}
        print_json({"schema": 1, "seed": seed, "identities": identities, "folders": folders})
        return
    for kind in KINDS:
        stdout().print(f"{kind:<11} {clean(directory / kind)}", soft_wrap=True)
