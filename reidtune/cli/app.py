"""The ``reidtune`` command: which commands there are, and what happens to errors. The commands import what is slow
only when they run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from reidtune import __version__
from reidtune.cli.console import plain_warnings, print_error
from reidtune.cli.stopping import COMMAND_LINE
from reidtune.errors import ReidtuneError, SettingsError
from reidtune.launch import launched, one_voice, speaks_of_failure

# Command and module of reidtune.cli; the function is called like the module. A module may have EXAMPLES, and COMMAND, a
# class of command of its own.
COMMANDS = (
    *("train", "evaluate", "compare", "embed", "search", "export", "inspect", "data", "demo"),
    *("methods", "recipes", "backbones"),
)
ALIASES = {"eval": "evaluate"}
SHARED = ("train",)  # what the processes that torchrun starts can do together

EXAMPLES = (
    "reidtune train demo --output run",
    "reidtune evaluate demo --delta run",
    'reidtune search demo --delta run --text "a woman in a red coat"',
    "reidtune inspect run",
    "reidtune data /data/Market-1501 --sheet data.png",
    "reidtune train /data/Market-1501 --method lora --output market",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reidtune {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tune CLIP for re-identification with a few small parameters, and rank exactly.

    DATA is a dataset's folder, a CSV or JSONL table, or the word demo, which needs no files.
    """


def build() -> typer.Typer:
    """The Typer application with every command."""
    app = typer.Typer(
        name="reidtune",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(epilog=_epilog(EXAMPLES))(_root)
    for name in COMMANDS:
        module = import_module(f"reidtune.cli.{name}")
        function, epilog = getattr(module, name), _epilog(getattr(module, "EXAMPLES", ()))
        kind = getattr(module, "COMMAND", None)
        app.command(name, cls=kind, epilog=epilog)(function)
        for alias in (alias for alias, command in ALIASES.items() if command == name):
            app.command(alias, cls=kind, hidden=True, epilog=epilog)(function)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors have been printed."""
    COMMAND_LINE.set(tuple(arguments))
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # also while the error is being said
        return 130


def _run(arguments: Sequence[str]) -> int:
    try:
        # Typer itself prints usage errors (2) and turns Ctrl-C into 130; both arrive here as SystemExit.
        with one_voice(), plain_warnings():
            _refuse_many(arguments)
            build()(list(arguments), prog_name="reidtune")
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BrokenPipeError:
        code = 1
    except ReidtuneError as error:
        if _debugging():
            raise
        code = error.exit_code
        if speaks_of_failure(str(error)):
            print_error(error.message, error.hint, label="" if code > 128 else "Error:")  # a stop by signal is no error
    except Exception as error:
        if _debugging():
            raise
        said = f"reidtune failed unexpectedly: {type(error).__name__}: {error}"
        hint = "This is a bug. REIDTUNE_DEBUG=1 before the command shows where it happened; please report that."
        if type(error).__name__ in ("OutOfMemoryError", "MemoryError", "_ArrayMemoryError"):
            said, hint = f"There is not enough memory: {error}", "Free memory, or use smaller images or batches."
        if speaks_of_failure(said):
            print_error(said, hint)
        code = 1
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read stdout has left; say nothing at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    return code


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def _refuse_many(arguments: Sequence[str]) -> None:
    """Raise ``SettingsError`` for a command that several processes would do several times."""
    launch = launched()
    command = next((word for word in arguments if not word.startswith("-")), "")
    if launch is not None and launch.size > 1 and command in {*COMMANDS, *ALIASES} - {*SHARED}:
        raise SettingsError(
            f"torchrun started {launch.size} processes, but {command} works in one.",
            f"Start it without torchrun: reidtune {command} …",
        )


def _debugging() -> bool:
    return os.environ.get("REIDTUNE_DEBUG", "") not in {"", "0"}


def _epilog(examples: Sequence[str]) -> str | None:
    # Typer joins lines and keeps paragraphs: one example a paragraph.
    return "\n\n".join(["[bold]Examples[/]", *(f"  $ {example}" for example in examples)]) if examples else None
