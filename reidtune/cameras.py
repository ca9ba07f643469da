"""Embeddings of cameras: which a delta was trained with, and whether the images at hand are from these.

A delta with them is bound to its cameras. Numbers of cameras mean nothing between datasets, so that what a camera is
called elsewhere never decides: other data is refused until the user says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reidtune.data.record import Record
from reidtune.data.scan import show
from reidtune.errors import DeltaError, SettingsError, did_you_mean

KNOWN, MEAN, NONE = USES = ("known", "mean", "none")
"""What is added to an image: the embedding of its camera, the mean of all, or nothing."""

KINDS = ("camera", "scene")
CHOICES = "--cameras mean adds the mean of the embeddings instead, --cameras none adds nothing."
_EXAMPLES = 10
NAMES = "{}_names"  # in the data of a delta


@dataclass(frozen=True)
class Cameras:
    """What a delta was trained with: embeddings of ``kind`` (``camera`` or ``scene``), one of each of ``places``, whose
    ``names`` are those of the training data where it had names."""

    kind: str
    places: tuple[int, ...]
    names: tuple[str, ...] = ()

    def sentence(self) -> str:
        return f"an embedding of each {self.kind} of its training data ({listed(self.places, self.names)})"


def cameras_of(settings: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> Cameras | None:
    """What the settings of a delta say, with the names that its ``data`` has; ``None``: it has no such embeddings.
    Nonsense is a :class:`DeltaError`."""
    kind, places = settings.get("camera_embedding", "none"), settings.get("cameras", ())
    if kind == "none":
        return None
    numbers = isinstance(places, list | tuple) and all(type(place) is int for place in places)
    if kind not in KINDS or not numbers:
        raise DeltaError(f"the delta is damaged: its cameras are {places!r} of the kind {kind!r}.", "Get it again.")
    named = (data or {}).get(NAMES.format(kind))
    if named is None:
        return Cameras(kind, tuple(places))
    names = named if isinstance(named, list) else []
    if len(names) != len(places) or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise DeltaError(f"the delta is damaged: the names of its cameras are {named!r}.", "Get it again.")
    return Cameras(kind, tuple(places), tuple(names))


def complete_cameras(
    settings: Any, task: str, train: Sequence[Record], validation: Sequence[Record], joined: bool = False
) -> Any:
    """A method's settings with the cameras (or scenes) of ``train`` filled in, where it has embeddings of them.

    Raises:
        SettingsError: the data is not of images, is ``joined`` of several datasets, has images whose camera is not
            known, or one camera alone; the validation images are from others; or the settings name cameras that are
            not the data's.
    """
    kind = getattr(settings, "camera_embedding", "none")
    if kind == "none":
        return settings
    wanted = f"settings.camera_embedding is {kind}"
    off = "Leave settings.camera_embedding out."
    if task == "text":
        raise SettingsError(f"{wanted}, but this is text data: captions have no {kind}.", off)
    if joined:
        raise SettingsError(
            f"{wanted}, but the data is several datasets joined: their {kind}s are numbered anew, so that no "
            "evaluation could tell which is which.",
            off,
        )
    missing = [record for record in train if getattr(record, kind) is None]
    if missing:
        which = "no image" if len(missing) == len(train) else f"not every image ({missing[0].path.name})"
        raise SettingsError(f"{wanted}, but {which} of the training data has a known {kind}.", off)
    places = tuple(sorted({getattr(record, kind) for record in train}))
    if len(places) == 1:
        raise SettingsError(f"{wanted}, but all training images are of one {kind} ({places[0]}).", off)
    if settings.cameras and settings.cameras != places:
        raise SettingsError(
            f"settings.cameras is {listed(settings.cameras)}, but the training data has {listed(places)}.",
            "Leave it out: it is filled in from the data.",
        )
    others = {getattr(record, kind) for record in validation} - set(places)
    if others:
        unknown = ", ".join("unknown" if place is None else str(place) for place in sorted(others, key=str))
        raise SettingsError(
            f"{wanted}, but validation images are of {kind} {unknown}, which no training image is.",
            "Choose another --seed or data.validation_fraction, so that the training identities were seen everywhere.",
        )
    return settings.model_copy(update={"cameras": places})


def choose_use(
    settings: Mapping[str, Any], records: Iterable[Record], same_data: bool, asked: str | None
) -> str | None:
    """How a delta with these settings embeds ``records``: one of :data:`USES`; ``None`` where it has no embeddings of
    cameras. ``same_data``: they are of the dataset that it was trained on. ``asked`` is the user's choice.

    Raises:
        SettingsError: an unknown choice, one for a delta without such embeddings, or images of cameras that it does not
            know (they are named), or that are not known to be the same.
    """
    check_use(asked)
    own = cameras_of(settings)
    if own is None:
        if asked is not None:
            raise SettingsError(
                f"--cameras {asked} is for deltas with embeddings of cameras, but this one has none.", "Leave it out."
            )
        return None
    if asked in (MEAN, NONE):
        return asked
    found = {getattr(record, own.kind) for record in records}
    if None in found:
        raise unknown_cameras(own)
    if others := sorted(found - set(own.places)):
        raise SettingsError(
            f"The delta has {own.sentence()}, but this data also has {listed(others)}.", f"Say what to do: {CHOICES}"
        )
    if not same_data and asked != KNOWN:
        raise SettingsError(
            f"The delta has {own.sentence()}, and this is other data: equal numbers need not be the same {own.kind}.",
            f"If they are the same, say --cameras known. If not: {CHOICES}",
        )
    return KNOWN


def check_use(asked: str | None) -> None:
    """Raise :class:`SettingsError` for what is none of :data:`USES`."""
    if asked not in (None, *USES):
        raise SettingsError(
            f'Unknown choice of cameras "{asked}".{did_you_mean(str(asked), USES)}', f"Choose of {', '.join(USES)}."
        )


def unknown_cameras(own: Cameras) -> SettingsError:
    """The error of an image whose camera nobody says."""
    return SettingsError(
        f"The delta has {own.sentence()}, but the {own.kind} of these images is not known.",
        f"Give data in a layout that has it, or say what to do: {CHOICES}",
    )


def use_sentence(use: str | None, settings: Mapping[str, Any]) -> str:
    """What a user should know of a choice other than that of the training; empty: nothing."""
    own = cameras_of(settings)
    if own is None or use in (None, KNOWN):
        return ""
    what = f"the mean of its {len(own.places)} embeddings" if use == MEAN else "nothing"
    return f"The delta was trained with {own.sentence()}; here every image gets {what} instead."


def listed(places: Sequence[int], names: Sequence[str] = ()) -> str:
    """``0, 1, 2``, or the first ten and how many more; with names ``0 = north, 1 = south``."""
    return first_of([f"{place} = {show(name)}" for place, name in zip(places, names, strict=True)] if names else places)


def first_of(items: Iterable[object]) -> str:
    """The first ten, and how many more."""
    shown = [show(item) if isinstance(item, str) else str(item) for item in items]
    more = len(shown) - _EXAMPLES
    return ", ".join(shown[:_EXAMPLES]) + (f" and {more} more" if more > 0 else "")
