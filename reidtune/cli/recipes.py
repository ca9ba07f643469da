"""``reidtune recipes``: the settings that are shipped."""

from __future__ import annotations

from typing import Annotated

import typer

from reidtune.cli.console import clean, print_json, stdout

EXAMPLES = ("reidtune recipes", "reidtune train demo --recipe vpt-tiny --print-config")


def recipes(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """List the shipped recipes, a line each."""
    from reidtune.recipes.find import recipe_names, recipe_summary

    lines = {name: recipe_summary(name) for name in recipe_names()}
    if as_json:
        rows = [{"name": name, "summary": summary} for name, summary in lines.items()]
        print_json({"schema": 1, "recipes": rows})
        return
    width = max(map(len, lines))
    for name, summary in lines.items():
        stdout().print(f"[bold]{clean(name):<{width}}[/]  {clean(summary)}", soft_wrap=True)
