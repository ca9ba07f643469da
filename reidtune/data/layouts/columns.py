"""Which column of a table is what, where the table calls it differently: ``--column identity=name``.

A mapping is ``{what: column}``: what is one of :data:`COLUMNS` or ``path_NAME`` of a modality, column is the table's
own. Upper and lower case are the same in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reidtune.data.scan import show
from reidtune.errors import SettingsError, did_you_mean

COLUMNS = ("path", "identity", "camera", "scene", "split", "caption", "modality", "sample")
PATH = "path_"  # begins the columns of a modality each
USUAL = {  # what tables that others made call them, for hints
    "path": ("file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "img_path"),
    "identity": ("id", "pid", "person_id", "individual", "individual_id", "name", "label", "class"),
}
EXAMPLE = "For example: --column path=file --column identity=name"


def parse_columns(items: Iterable[str]) -> dict[str, str]:
    """``identity=name`` strings of ``--column`` as a mapping.

    Raises:
        SettingsError: an item of another form, or something named twice; all of them at once.
    """
    found: dict[str, str] = {}
    problems = []
    for item in items:
        what, equals, column = (part.strip() for part in item.partition("="))
        key = what.lower()
        if not (equals and what and column):
            problems.append(f"--column {show(item)}: must be NAME=COLUMN")
        elif key in found:
            problems.append(f"--column {show(item)}: {show(key)} is {show(found[key])} already")
        else:
            found[key] = column
    if problems:
        raise SettingsError("\n".join(problems), EXAMPLE)
    return found


def roles_of(path: Path, columns: Sequence[str], mapping: Mapping[str, str]) -> dict[str, list[str]]:
    """What each of the ``columns`` (lower case) of the table ``path`` is: ``{column: [name, …]}``. Without a mapping a
    column is what it is called; one whose name another column was given is nothing.

    Raises:
        SettingsError: the mapping names what is not read, or columns that are not there; all of them at once.
    """
    problems = []
    chosen: dict[str, str] = {}
    for name, own in mapping.items():
        what, column = name.strip().lower(), own.strip().lower()
        said = f"{show(name)}={show(own)}"
        if not is_role(what):
            problems.append(f"{said}: {_unknown(what, column, columns)}")
        if column not in columns and not (what in columns and is_role(column)):
            problems.append(f"{said}: there is no such column.{did_you_mean(column, columns)}")
        chosen[what] = column
    if problems:
        there = ", ".join(show(name) for name in columns) or "none"
        raise SettingsError(
            "\n  ".join([f'--column does not fit "{show(path)}":', *problems]), f"The columns of the table: {there}."
        )
    given: dict[str, list[str]] = {}
    for what, column in chosen.items():
        given.setdefault(column, []).append(what)
    other = {name: [f"{name} (another column is {name})"] for name in chosen}
    return {name: given.get(name) or other.get(name) or [name] for name in columns}


def divided(
    columns: Mapping[str, str], tables: Mapping[int, Sequence[str] | None], number: int
) -> list[dict[str, str]]:
    """The part of a mapping that is for each of ``number`` datasets. ``tables`` has the columns of those that are
    tables, by their place; ``None``: it knows its columns itself, and gets the whole mapping.

    A table that lacks such a column and has what it stands for under its own name, or can do without, keeps that. What
    no table has is left to all of them, to be refused.
    """
    everywhere = {name for there in tables.values() for name in there or ()}
    optional = set(COLUMNS) - {"path", "identity"}
    found: list[dict[str, str]] = []
    for place in range(number):
        there = tables.get(place)
        if place not in tables or there is None:
            found.append(dict(columns) if place in tables else {})
            continue
        own = {name: column.strip().lower() for name, column in columns.items()}
        found.append(
            {
                name: columns[name]
                for name, column in own.items()
                if column in there
                or column not in everywhere
                or not (name.lower() in there or name.lower() in optional)
            }
        )
    return found


def example_for(missing: Sequence[str], columns: Sequence[str]) -> str:
    """The ``--column`` options that would name what is ``missing``, with the table's columns where one is likely."""
    words = []
    for what in missing:
        likely = next((name for name in USUAL.get(what, ()) if name in columns), "COLUMN")
        words.append(f"--column {what}={likely}")
    return " ".join(words)


def options_of(mapping: Mapping[str, str]) -> list[str]:
    """A mapping as arguments of a command line."""
    return [part for what, column in mapping.items() for part in ("--column", f"{what}={column}")]


def is_role(what: str) -> bool:
    """Whether a column of this name is read: one of :data:`COLUMNS`, or ``path_NAME``."""
    return what in COLUMNS or (what.startswith(PATH) and what != PATH)


def _unknown(what: str, column: str, columns: Sequence[str]) -> str:
    if what in columns and is_role(column):  # file=path
        return f"the other way round: --column {show(column)}={show(what)}"
    return f'nothing is called "{show(what)}".{did_you_mean(what, COLUMNS) or " Known: " + ", ".join(COLUMNS) + "."}'
