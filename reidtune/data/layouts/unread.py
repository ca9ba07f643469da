"""Datasets that are recognised but not read yet: better one sentence than a wrong reading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reidtune.data.scan import show
from reidtune.errors import DataError

HINT = "Until then, write its images as a table (CSV or JSONL) with the columns path, identity, camera and split."


@dataclass(frozen=True)
class Unread:
    """A dataset by its ``name`` for ``--layout``, its ``title``, and the files or folders of which one tells it."""

    name: str
    title: str
    signs: tuple[str, ...]


UNREAD = (
    Unread("msmt17", "MSMT17", ("list_train.txt",)),
    Unread("vehicleid", "VehicleID", ("train_test_split/train_list.txt",)),
)


def refuse_unread(path: Path) -> None:
    """Raise ``DataError`` if ``path`` is a folder of a dataset that is not read yet."""
    if path.is_dir():
        for dataset in UNREAD:
            if any((path / sign).exists() for sign in dataset.signs):
                raise DataError(f'"{show(path)}" is {dataset.title}, a layout that is not read yet.', HINT)


def refuse_by_name(name: str) -> None:
    """Raise ``DataError`` if the layout asked for is one that is not read yet."""
    for dataset in UNREAD:
        if name == dataset.name:
            raise DataError(f"The layout of {dataset.title} ({name}) is not read yet.", HINT)
