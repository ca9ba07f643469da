"""Finding and reading recipes, shipped or the user's own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from reidtune.errors import SettingsError, did_you_mean

_FOLDER = Path(__file__).parent
_RUN_FILE = "recipe.toml"


def recipe_names() -> list[str]:
    """The shipped recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def recipe_summary(name: str) -> str:
    """The first comment line of a shipped recipe."""
    first = (_FOLDER / f"{name}.toml").read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def recipe_text(name: str) -> str:
    """A shipped recipe as it stands, with its comments.

    Raises :class:`SettingsError` if there is no such recipe.
    """
    if name not in (names := recipe_names()):
        raise SettingsError(
            f'There is no shipped recipe "{name}".{did_you_mean(name, names)}', f"Shipped: {', '.join(names)}."
        )
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """The raw values of a shipped recipe, a TOML file, or the recipe in a run folder.

    Raises :class:`SettingsError` if there is no such recipe or if it is not valid TOML.
    """
    path = Path(recipe)
    if str(recipe) in recipe_names():  # a file of that name in the working folder is ./NAME
        path = _FOLDER / f"{recipe}.toml"
    elif path.is_dir() and (path / _RUN_FILE).is_file():
        path = path / _RUN_FILE
    if not path.is_file():
        raise SettingsError(
            f'There is no recipe "{recipe}".{did_you_mean(str(recipe), recipe_names())}',
            f"Give a TOML file, or one of the shipped recipes: {', '.join(recipe_names())}.",
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The recipe {path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise SettingsError(f"The recipe {path} cannot be read: {error.strerror or error}.") from error
