"""The layouts that are known: the built-in ones and those that other packages register as ``reidtune.layouts``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from reidtune.data.record import Dataset
from reidtune.data.scan import has_images, show, subfolders
from reidtune.errors import DataError, SettingsError, did_you_mean

ENTRY_POINTS = "reidtune.layouts"
MOST_SUBFOLDERS = 20  # a folder with more is not "one folder above a dataset"


@dataclass(frozen=True)
class Layout:
    """One way in which datasets lie on disk.

    ``recognise(path)`` looks at a few names, never at every file, and says whether ``path`` lies in this layout.
    ``read(path, protocol)`` lists it; ``protocol`` None means the layout's own choice. ``read`` raises ``DataError``
    and may be called on a path that was not recognised. Where ``takes_columns`` is set, ``read`` has a third argument:
    what the user says of a table's columns, ``{"identity": "name"}``, or ``None``.

    Other packages register an instance, or a function without arguments that returns one, as an entry point of the
    group ``reidtune.layouts``: in a ``pyproject.toml`` ::

        [project.entry-points."reidtune.layouts"]
        zoo = "zoo_reid:LAYOUT"

    where ``zoo_reid.LAYOUT`` is a ``Layout`` whose ``read`` ends in :func:`reidtune.data.layouts.assemble`. It is then
    tried before ``folder`` and after the built-in ones, whose names it cannot take; one that does not load is left out
    with a warning.
    """

    name: str
    summary: str
    recognise: Callable[[Path], bool]
    read: Callable[..., Dataset]
    aliases: tuple[str, ...] = ()
    takes_columns: bool = False


def known_layouts() -> dict[str, Layout]:
    """All layouts by name, in the order in which they are tried; ``folder`` takes nearly anything and comes last.

    A registered layout that fails to load is left out with a warning; a built-in name cannot be replaced.
    """
    from reidtune.data.layouts import (
        captioned,
        cuhk03,
        folder,
        market1501,
        msmt17,
        spectral,
        strips,
        table,
        vehicleid,
        vehicles,
        wildlife,
    )

    tables, multimodal = (wildlife.LAYOUT, table.LAYOUT), (strips.LAYOUT, spectral.LAYOUT, *vehicles.LAYOUTS)
    lists = (*captioned.LAYOUTS, *msmt17.LAYOUTS, *vehicleid.LAYOUTS)
    built_in = (*tables, *lists, *multimodal, *market1501.LAYOUTS, cuhk03.LAYOUT)
    layouts = {layout.name: layout for layout in built_in}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            loaded = entry.load()
            layout = loaded if isinstance(loaded, Layout) else loaded()
            if not isinstance(layout, Layout):
                raise TypeError(f"{type(layout).__name__} is not a reidtune.data.layouts.Layout")
        except Exception as error:  # another package's fault must not stop this one
            warnings.warn(f'The layout "{entry.name}" of {entry.value} does not load: {error}', stacklevel=2)
            continue
        if layout.name != folder.LAYOUT.name:
            layouts.setdefault(layout.name, layout)
    return {**layouts, folder.LAYOUT.name: folder.LAYOUT}


def find_layout(path: Path, name: str | None = None) -> tuple[Layout, Path]:
    """The layout of ``path`` (``name``, or recognised) and the path that lies in it: ``path`` or a folder in it.

    Raises ``SettingsError`` for an unknown ``name``, ``DataError`` for a file that is no table, or where several
    folders of ``path`` hold a dataset each.
    """
    from reidtune.data.layouts import folder

    layouts = known_layouts()
    if name is not None:
        layout = _by_name(name, layouts)
        if layout.recognise(path) or not path.is_dir():
            return layout, path
        inside = [child for child in _candidates(path) if layout.recognise(child)]
        return layout, _only_one(path, inside) if inside and layout is not folder.LAYOUT else path
    specific = [layout for layout in layouts.values() if layout is not folder.LAYOUT]
    for layout in specific:
        if layout.recognise(path):
            return layout, path
    if not path.is_dir():
        raise DataError(
            f'"{show(path)}" is not a dataset: a file must be a table (.csv, .tsv, .jsonl).',
            "Give a folder in a known layout or a table with the columns path and identity.",
        )
    inside = [child for child in _candidates(path) if any(layout.recognise(child) for layout in specific)]
    if inside:
        child = _only_one(path, inside)
        return next(layout for layout in specific if layout.recognise(child)), child
    return folder.LAYOUT, path


def _by_name(name: str, layouts: dict[str, Layout]) -> Layout:
    names = {alias: layout for layout in layouts.values() for alias in (*layout.aliases, layout.name)}
    if name not in names:
        raise SettingsError(
            f'There is no layout "{name}".{did_you_mean(name, names)}', f"Layouts: {', '.join(layouts)}."
        )
    return names[name]


def _candidates(path: Path) -> list[Path]:
    """Folders in ``path`` that may be a whole dataset: few of them, and with no image directly inside."""
    children = subfolders(path)
    return [c for c in children if not has_images(c)] if len(children) <= MOST_SUBFOLDERS else []


def _only_one(path: Path, inside: list[Path]) -> Path:
    if len(inside) > 1:
        names = ", ".join(show(child.name) for child in inside)
        raise DataError(
            f'"{show(path)}" holds {len(inside)} datasets: {names}.',
            f'Name the one to use, such as "{show(inside[0])}".',
        )
    return inside[0]
