"""Cameras and scenes by their names, where a layout numbers names: each table numbers its own, a delta stays with those
of its training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reidtune.cameras import CHOICES, MEAN, NAMES, NONE, cameras_of, first_of
from reidtune.data.record import Dataset, Record
from reidtune.errors import SettingsError


def names_for(settings: Mapping[str, Any], dataset: Dataset) -> dict[str, list[str]]:
    """What a delta with these settings, trained on ``dataset``, says of the names of its cameras, in their order; empty
    where it has no embeddings of them, or they have no names."""
    own = cameras_of(settings)
    known = {} if own is None else _names_of(dataset, own.kind)
    return {NAMES.format(own.kind): [known[place] for place in own.places]} if own and known else {}


def by_name(
    dataset: Dataset,
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    asked: str | None,
    splits: Sequence[str] = ("query", "gallery"),
) -> Dataset:
    """``dataset`` with the numbers that its cameras have in a delta (of these ``settings``, trained on this ``data``),
    found by their names: each table numbers its own. As it is where neither has names, where the delta has no such
    embeddings, or where they are not used.

    Raises:
        SettingsError: images of ``splits`` are from cameras of other names, or only one of both has names.
    """
    own = cameras_of(settings, data)
    if own is None or asked in (MEAN, NONE):
        return dataset
    theirs = _names_of(dataset, own.kind)
    if not (own.names or theirs):
        return dataset
    if not (own.names and theirs):
        which = "this data has numbers alone" if own.names else f"this data has names ({first_of(theirs.values())})"
        raise SettingsError(f"The delta has {own.sentence()}, but {which}.", f"Say what to do: {CHOICES}")
    found = {getattr(record, own.kind) for split in splits for record in getattr(dataset, split)} - {None}
    others = [theirs[place] for place in sorted(found) if theirs[place] not in own.names]
    if others:
        raise SettingsError(
            f"The delta has {own.sentence()}, but this data also has {first_of(others)}.", f"Say what to do: {CHOICES}"
        )
    numbers = dict(zip(own.names, own.places, strict=True))
    free = max(own.places) + 1  # for cameras that only images elsewhere are from
    new = {place: numbers.get(name, free + place) for place, name in theirs.items()}
    if all(place == number for place, number in new.items()):
        return dataset
    lists: dict[int, list[Record]] = {}  # one list that is query and gallery stays one
    for records in (dataset.train, dataset.query, dataset.gallery, dataset.validation):
        lists[id(records)] = lists.get(id(records)) or [_moved(record, own.kind, new) for record in records]
    called = {new[place]: name for place, name in theirs.items()}
    return replace(
        dataset,
        train=lists[id(dataset.train)],
        query=lists[id(dataset.query)],
        gallery=lists[id(dataset.gallery)],
        validation=lists[id(dataset.validation)],
        camera_names=called if own.kind == "camera" else dataset.camera_names,
        scene_names=called if own.kind == "scene" else dataset.scene_names,
    )


def _names_of(dataset: Dataset, kind: str) -> dict[int, str]:
    return dataset.camera_names if kind == "camera" else dataset.scene_names


def _moved(record: Record, kind: str, new: Mapping[int, int]) -> Record:
    if kind == "camera":
        return record if record.camera is None else replace(record, camera=new[record.camera])
    return record if record.scene is None else replace(record, scene=new[record.scene])
