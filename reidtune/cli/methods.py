"""``reidtune methods``: what can be trained."""

from __future__ import annotations

from typing import Annotated

import typer

from reidtune.cli.console import clean, print_json, stdout

EXAMPLES = ("reidtune methods", "reidtune methods --json")


def methods(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """List the methods, a line each."""
    from reidtune.methods.registry import METHOD_SUMMARIES, method_names, third_party

    outside = third_party()
    lines = {name: METHOD_SUMMARIES.get(name) or f"from {outside[name].value}" for name in method_names()}
    if as_json:
        rows = [{"name": name, "summary": summary} for name, summary in lines.items()]
        print_json({"schema": 1, "methods": rows})
        return
    width = max(map(len, lines))
    for name, summary in lines.items():
        stdout().print(f"[bold]{clean(name):<{width}}[/]  {clean(summary)}", soft_wrap=True)
