"""From what the user names to a dataset: a folder, a table, or the word ``demo``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from reidtune.data.layouts import find_layout
from reidtune.data.record import Dataset, identities
from reidtune.data.scan import show, without_collection
from reidtune.errors import DataError, SettingsError, did_you_mean

DEMOS = {"demo": "image", "demo:image": "image", "demo:text": "text", "demo:multimodal": "multimodal"}


def open_dataset(
    source: str | Path,
    layout: str | None = None,
    protocol: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """List the dataset at ``source`` and say what was recognised (``Dataset.sentence``); no image is read.

    ``source`` is a folder in a known layout, a folder that holds one such folder, a table (``.csv``, ``.tsv``,
    ``.jsonl``), or the text ``demo``, ``demo:text``, ``demo:multimodal`` (a folder of that name is ``./demo``, or a
    ``Path``). ``layout`` None means recognised from the files; ``protocol`` None means the one that fits the data.
    ``columns`` says what the columns of a table are, where it calls them otherwise: ``{"identity": "name"}``.

    Raises ``DataError`` for data that is missing, empty, of one identity or not recognised, ``SettingsError`` for an
    unknown ``layout``, a ``protocol`` that is unknown or does not fit the data, or ``columns`` that do not.
    """
    path = source_path(source)
    with readable(path):
        if not path.exists():
            guess = did_you_mean(str(source), DEMOS) if "/" not in str(source) else ""
            raise DataError(
                f'There is no file or folder "{show(path)}".{guess}',
                "Give a folder of images, a CSV or JSONL table, or the word demo for the built-in demo world.",
            )
        family, root = find_layout(path, layout)
        if columns and not family.takes_columns:
            raise SettingsError(
                f'"{show(root)}" is no table ({family.name}), so it has no columns to name.', "Leave --column out."
            )
        with without_collection():
            dataset = family.read(root, protocol, columns) if columns else family.read(root, protocol)
        if root != path:
            dataset = replace(dataset, sentence=f'{dataset.sentence} Found in "{show(root.name)}".')
        return dataset


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Within, what the system refuses is a ``DataError`` that names the file, ``path`` where the system does not."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f'"{show(error.filename or path)}" cannot be read: {error.strerror or error}.',
            "Check the path and its permissions.",
        ) from error


def source_path(source: str | Path) -> Path:
    """The folder or file that ``source`` names. Raises ``SettingsError`` where there is no such demo world."""
    if isinstance(source, str) and (source in DEMOS or source.startswith("demo:")):
        return _demo(source)
    return Path(source).expanduser()


def require_split(dataset: Dataset, split: str) -> None:
    """Raise ``DataError`` where ``dataset`` cannot serve for ``split``: ``train`` (two identities) or ``test``."""
    if split == "train" and len(identities(dataset.train)) < 2:
        raise DataError(
            f'"{show(dataset.root)}" has no training split of two identities or more. {dataset.sentence}',
            "Add a train folder, or rows of split train; this data can only be evaluated on.",
        )
    if split == "test" and not (dataset.query and dataset.gallery):
        raise DataError(
            f'"{show(dataset.root)}" has no test split. {dataset.sentence}',
            "Add a test folder (or query and gallery); this data can only be trained on.",
        )


def _demo(word: str) -> Path:
    if word not in DEMOS:
        raise SettingsError(
            f'There is no demo world "{word}".{did_you_mean(word, DEMOS)}',
            "Use demo, demo:text or demo:multimodal; a folder of that name is ./demo.",
        )
    from reidtune.demo import demo_folder

    folder: Path = demo_folder(DEMOS[word])
    return folder
