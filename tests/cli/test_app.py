from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import typer

from reidtune import __version__
from reidtune.cli import app
from reidtune.cli.app import run
from reidtune.cli.console import print_json, stderr
from reidtune.errors import DataError, DeltaError, ReidtuneError, SettingsError
from reidtune.methods.registry import METHOD_SUMMARIES


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Make a function the command ``probe``."""

    def install(function: Callable[[], None]) -> None:
        module = ModuleType("reidtune.cli.probe")
        module.probe = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "reidtune.cli.probe", module)
        monkeypatch.setattr(app, "COMMANDS", ("probe", "methods"))

    return install


def raising(error: BaseException) -> Callable[[], None]:
    def probe() -> None:
        raise error

    return probe


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ReidtuneError("It [failed]\x1b.", "Do this."), 1, "Error: It [failed]\\x1b.\nDo this.\n"),
        (SettingsError("a\n  b"), 2, "Error: a\n  b\n"),
        (DeltaError("No fit."), 3, "Error: No fit.\n"),
        (DataError("No data."), 4, "Error: No data.\n"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Exit(7), 7, ""),
        (typer.Exit(), 0, ""),
        (SystemExit(143), 143, ""),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
    ],
)
def test_exit_codes(
    command: Callable[[Callable[[], None]], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    text: str,
) -> None:
    command(raising(error))
    assert run(["probe"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == text


def test_an_unexpected_error_is_one_sentence(
    command: Callable[[Callable[[], None]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command(raising(ZeroDivisionError("by zero")))
    monkeypatch.delenv("REIDTUNE_DEBUG", raising=False)
    assert run(["probe"]) == 1
    captured = capsys.readouterr()
    assert "reidtune failed unexpectedly: ZeroDivisionError: by zero" in captured.err
    assert "REIDTUNE_DEBUG=1" in captured.err
    assert "Traceback" not in captured.err
    monkeypatch.setenv("REIDTUNE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["probe"])


def test_success_is_0(command: Callable[[Callable[[], None]], None]) -> None:
    seen = []
    command(lambda: seen.append(1))
    assert run(["probe"]) == 0
    assert seen == [1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["insect"], ["No such command", "inspect"]),
        (["inspect"], ["Missing argument", "PATH"]),
        (["inspect", "x", "--jsno"], ["No such option", "--json"]),
        (["--nothing"], ["No such option"]),
    ],
)
def test_usage_errors_are_2(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(word in captured.err for word in words), captured.err


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_examples(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([flag]) == 0
    top = capsys.readouterr().out
    assert "$ reidtune train demo" in top
    assert "inspect" in top
    assert run(["inspect", flag]) == 0
    assert "$ reidtune inspect run --json" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"reidtune {__version__}\n"


def test_methods_and_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["methods", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    assert {row["name"]: row["summary"] for row in found["methods"]}.items() >= METHOD_SUMMARIES.items()
    assert run(["methods"]) == 0
    assert METHOD_SUMMARIES["lora"] in capsys.readouterr().out
    assert run(["recipes", "--json"]) == 0
    assert "lora-tiny" in [row["name"] for row in json.loads(capsys.readouterr().out)["recipes"]]
    assert run(["recipes"]) == 0
    assert "vpt-tiny" in capsys.readouterr().out


def test_json_has_no_nan_and_no_surprises(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [float("-inf"), 1.5, True, None], "p": Path("x/ü"), "n": {1: (2,)}})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": None, "b": [None, 1.5, True, None], "p": "x/ü", "n": {"1": [2]}}


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    stderr(quiet=True).print("nothing")
    stderr().print("something")
    assert capsys.readouterr() == ("", "something\n")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["methods"], ["recipes"], ["backbones", "--help"], ["inspect", "--help"]]
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    # Typer 0.29 converts a command's parameters with pydantic, so only the top level can be free of it; that none of
    # our own settings are loaded shows in reidtune.config.
    heavy = {"torch", "numpy", "open_clip", "safetensors", "reidtune.config"}
    heavy |= {"pydantic"} if arguments == ["--help"] else set()
    script = (
        "import sys; from reidtune.cli.app import run; "
        f"code = run({arguments!r}); "
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr); "
        "sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "[]\n")


def test_a_reader_that_leaves_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, "-m", "reidtune", "methods"], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert result.stderr == ""
    assert result.returncode == 1


def test_no_colour_when_asked() -> None:
    environment = {**os.environ, "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "reidtune", "methods"]
    coloured = subprocess.run(command, capture_output=True, text=True, env=environment)
    plain = subprocess.run(command, capture_output=True, text=True, env={**environment, "NO_COLOR": "1"})
    assert "\x1b[" in coloured.stdout
    assert "\x1b[3" not in plain.stdout  # bold may stay, colours go
