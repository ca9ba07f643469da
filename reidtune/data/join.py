"""Several datasets joined for training: identities and cameras of each are kept apart from those of the others.

Nothing tells whether a person of one dataset is in another, so the folder ``0002`` of two datasets is two identities.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from reidtune.data.layouts import find_layout
from reidtune.data.layouts.assemble import settle_protocol
from reidtune.data.layouts.columns import divided
from reidtune.data.layouts.rows import open_rows
from reidtune.data.layouts.table import LAYOUT as TABLE
from reidtune.data.open import open_dataset, readable, require_split, source_path
from reidtune.data.record import Dataset, Part, Record, cameras, identities, knows_several
from reidtune.data.scan import show
from reidtune.data.scorable import PLACES
from reidtune.errors import DataError, SettingsError

JOINED = "joined"  # the layout of a join
AUTO = "auto"  # one of several layouts: recognised


def open_datasets(
    sources: Sequence[str | Path],
    layout: str | None = None,
    protocol: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """What :func:`reidtune.data.open_dataset` opens where there is one source; the training splits of several, joined.

    ``layout`` is one for all, or one for each with commas between, of which ``auto`` is recognised. ``columns`` are for
    the tables among several; one that lacks such a column and has what it stands for under its own name keeps that.

    Raises what ``open_dataset`` raises, and ``SettingsError`` where the datasets are of different tasks or modalities,
    or the same one is there twice.
    """
    if len(sources) == 1:
        return open_dataset(sources[0], layout, protocol, columns)
    layouts = layouts_for(layout, len(sources))
    _refuse_twice(sources)
    mappings = columns_for(sources, layout, columns or {})
    parts = [
        open_dataset(source, layout=name, columns=mapping or None)
        for source, name, mapping in zip(sources, layouts, mappings, strict=True)
    ]
    return join(parts, protocol)


def join(datasets: Sequence[Dataset], protocol: str | None = None) -> Dataset:
    """The training splits of ``datasets`` as one. Their test and validation splits are not in it: validation identities
    are carved from each dataset's training identities (:func:`reidtune.data.split.carve`).

    Identities and cameras (and scenes) are numbered anew, dataset after dataset; an identity is called ``2/0007`` after
    the dataset's place and its own name. ``protocol`` (of the validation) is by default that of all datasets, or
    ``cross-camera`` where each knows several cameras, else ``leave-one-out``.

    Raises ``DataError`` where a dataset has no training split or two share an image, ``SettingsError`` where tasks or
    modalities differ or the ``protocol`` does not fit.
    """
    for dataset in datasets:
        require_split(dataset, "train")
    _agree(datasets, "task", lambda dataset: f"{dataset.task} data")
    _agree(datasets, "modalities", lambda dataset: ", ".join(sorted(dataset.modalities)) or "images")
    _refuse_shared(datasets)
    records: list[Record] = []
    names: dict[int, str] = {}
    parts: list[Part] = []
    places = {"camera": 0, "scene": 0}  # the next free number
    following = 1
    for number, dataset in enumerate(datasets, 1):
        people = {identity: new for new, identity in enumerate(sorted(identities(dataset.train)), following)}
        new_places = {}
        for place, first in places.items():
            known = sorted({getattr(record, place) for record in dataset.train} - {None})
            new_places[place] = {value: new for new, value in enumerate(known, first)}
            places[place] += len(known)
        for record in dataset.train:
            camera, scene = (new_places[place].get(getattr(record, place)) for place in places)
            records.append(replace(record, identity=people[record.identity], camera=camera, scene=scene))
        for identity, new in people.items():
            names[new] = f"{number}/{dataset.identity_names.get(identity, identity)}"
        parts.append(Part(range(following, following + len(people)), dataset.manifest()))
        following += len(people)
    chosen, why = _protocol(datasets, protocol)
    notes = [note for note in (why, _cropped_twice(datasets)) if note]
    return Dataset(
        root=datasets[0].root,
        layout=JOINED,
        task=datasets[0].task,
        protocol=settle_protocol(chosen, records, records, datasets[0].task),
        train=records,
        query=[],
        gallery=[],
        sentence=_sentence(datasets, records, chosen, notes),
        identity_names=names,
        modalities=datasets[0].modalities,
        parts=tuple(parts),
    )


def layouts_for(layout: str | None, number: int) -> list[str | None]:
    """The layout of each of ``number`` sources (``None``: recognised), of one name for all or one for each."""
    if layout is None:
        return [None] * number
    names = [name.strip() for name in layout.split(",")]
    if len(names) == 1:
        names *= number
    if len(names) != number:
        raise SettingsError(
            f'"{layout}" names {len(names)} layouts, but there are {number} datasets.',
            f"Name one for all of them, or one for each with commas between; {AUTO} is recognised.",
        )
    return [None if name in ("", AUTO) else name for name in names]


def _refuse_twice(sources: Sequence[str | Path]) -> None:
    seen: dict[Path, str | Path] = {}
    for source in sources:
        path = source_path(source).resolve()
        if path in seen:
            raise SettingsError(
                f'"{show(source)}" and "{show(seen[path])}" are the same data: each person in it would be two.',
                "Name each dataset once.",
            )
        seen[path] = source


def columns_for(sources: Sequence[str | Path], layout: str | None, columns: Mapping[str, str]) -> list[dict[str, str]]:
    """The part of ``columns`` that is for each source; see :func:`reidtune.data.layouts.columns.divided`."""
    layouts = layouts_for(layout, len(sources))
    tables: dict[int, list[str] | None] = {}
    for place, (source, name) in enumerate(zip(sources, layouts, strict=True)):
        path = source_path(source)
        with readable(path):
            if not (columns and path.exists()):
                continue
            family, path = find_layout(path, name)
            if family is TABLE and path.is_file():
                tables[place] = open_rows(path)[0]
            elif family.takes_columns:
                tables[place] = None  # a layout of others, which knows its columns itself
    if columns and not tables:
        raise SettingsError("None of the datasets is a table, so none has columns to name.", "Leave --column out.")
    return divided(columns, tables, len(sources))


def _refuse_shared(datasets: Sequence[Dataset]) -> None:
    """What was typed may be a folder and the one inside it, or two tables of the same files."""
    folders: dict[str, str] = {}
    seen: dict[tuple[str, tuple[int, int, int, int] | None], int] = {}
    for number, dataset in enumerate(datasets):
        for record in dataset.train:
            for image in record.images:
                folder, name = os.path.split(image.path)  # strings: 100,000 times
                if (real := folders.get(folder)) is None:
                    real = folders[folder] = os.path.realpath(folder)
                file = os.path.realpath(image.path) if os.path.islink(image.path) else f"{real}{os.sep}{name}"  # noqa: PTH114
                if (first := seen.setdefault((file, image.crop), number)) != number:
                    raise DataError(
                        f'"{show(file)}" is in two of the datasets, {first + 1} ("{show(datasets[first].root)}") and '
                        f'{number + 1} ("{show(dataset.root)}"): its person would be two.',
                        "Name each dataset once.",
                    )


def _cropped_twice(datasets: Sequence[Dataset]) -> str:
    """A sentence where two datasets are the two halves of CUHK03-NP, whose images differ; else nothing."""
    roots = [dataset.root.resolve() for dataset in datasets]
    for one in roots:
        if one.name == "detected" and one.with_name("labeled") in roots:
            return (
                f'Careful: "detected" and "labeled" of "{show(one.parent)}" are the same people cropped twice, as '
                "CUHK03-NP has them; each would be two."
            )
    return ""


def _agree(datasets: Sequence[Dataset], what: str, of: Callable[[Dataset], str]) -> None:
    kinds = [of(dataset) for dataset in datasets]
    if len(set(kinds)) > 1:
        told = "\n  ".join(f'"{show(dataset.root)}": {kind}' for dataset, kind in zip(datasets, kinds, strict=True))
        raise SettingsError(f"The datasets do not agree in their {what}:\n  {told}", "Train on each kind for itself.")


def _protocol(datasets: Sequence[Dataset], wanted: str | None) -> tuple[str, str]:
    """The protocol of the validation, and a sentence where some datasets decide it for those that could do with
    another."""
    if wanted is not None:
        return wanted, ""
    if datasets[0].task == "text":
        return "cross-modality", ""
    own = {dataset.protocol for dataset in datasets}
    protocol = own.pop() if len(own) == 1 else "cross-camera"
    place = PLACES.get(protocol)
    if place is None:
        return "leave-one-out", ""
    without = [number for number, dataset in enumerate(datasets, 1) if not knows_several(dataset.train, place)]
    if not without:
        return protocol, ""
    if len(without) == len(datasets):
        return "leave-one-out", ""
    which = f"Dataset {without[0]} does" if len(without) == 1 else f"Datasets {', '.join(map(str, without))} do"
    why = (
        f"{which} not know the {place} of all training images, or has only one: therefore no validation is {protocol}, "
        f"and a query may find images of its own {place}."
    )
    return "leave-one-out", why


def _sentence(datasets: Sequence[Dataset], records: Sequence[Record], protocol: str, notes: Sequence[str]) -> str:
    one = "samples" if datasets[0].modalities else "images"
    seen = len(cameras(records))
    unknown = sum(not cameras(dataset.train) for dataset in datasets)
    words = [f"{seen:,} cameras" if seen else "cameras unknown"]
    if seen and unknown:
        words.append(f"of {unknown} of the datasets unknown")
    first = (
        f"{len(datasets)} datasets joined for training: {len(identities(records)):,} identities, {len(records):,} "
        f"{one}, {', '.join(words)}; no identity or camera of one is that of another. Validation ({protocol}) is "
        "carved from the training identities of each; their own test and validation splits are not used."
    )
    first = " ".join([first, *notes])
    return "\n".join([first, *(f"{number}: {dataset.sentence}" for number, dataset in enumerate(datasets, 1))])
