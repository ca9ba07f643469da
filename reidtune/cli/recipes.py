"""``reidtune recipes``: the settings that are shipped."""

from __future__ import annotations

from typing import Annotated

import typer

from reidtune.cli.console import clean, print_json, stdout
from reidtune.cli.options import Json
from reidtune.errors import SettingsError, did_you_mean

EXAMPLES = (
    "reidtune recipes",
    "reidtune recipes show lora > my.toml",
    "reidtune train demo --recipe vpt-tiny --print-config",
)


def recipes(
    action: Annotated[str | None, typer.Argument(help="show: print one as it stands.", metavar="show")] = None,
    name: Annotated[str | None, typer.Argument(help="The recipe to show.", metavar="NAME")] = None,
    as_json: Json = False,
) -> None:
    """List the shipped recipes, a line each; or show one, comments and all, to start one of your own from."""
    from reidtune.recipes.find import recipe_names, recipe_summary, recipe_text

    if action is not None:
        if action != "show":
            raise SettingsError(
                f'There is no "recipes {action}".{did_you_mean(action, ("show",))}', f"Try: {EXAMPLES[1]}"
            )
        if name is None:
            raise SettingsError("Which recipe?", f"For example: {EXAMPLES[1]}. The names: reidtune recipes")
        text = recipe_text(name)
        if as_json:
            print_json({"schema": 1, "name": name, "summary": recipe_summary(name), "text": text})
        else:
            stdout().out(text, end="", highlight=False)
        return
    lines = {name: recipe_summary(name) for name in recipe_names()}
    if as_json:
        rows = [{"name": name, "summary": summary} for name, summary in lines.items()]
        print_json({"schema": 1, "recipes": rows})
        return
    width = max(map(len, lines))
    for name, summary in lines.items():
        stdout().print(f"[bold]{clean(name):<{width}}[/]  {clean(summary)}", soft_wrap=True)
