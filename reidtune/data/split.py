"""Dividing records by identity: validation identities carved from training, and labels for the identity loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from reidtune.data.record import Dataset, Record, identities
from reidtune.errors import DataError, SettingsError
from reidtune.seeds import derive_seed


def split_identities(
    records: Sequence[Record],
    fraction: float,
    seed: int,
    images_needed: int = 2,
    protocol: str = "cross-camera",
) -> tuple[list[Record], list[Record]]:
    """Divide ``records`` into (rest, validation) with no identity on both sides, each in the given order.

    ``fraction`` of the identities (rounded, at least 2, at least 2 left over) go to validation. Only identities that
    can be scored are chosen: ``images_needed`` images, and two cameras where the records know several cameras; under
    the ``protocol`` cross-scene two scenes instead. With ``images_needed`` 1 neither matters: a caption finds the very
    image it describes. The choice is a function of the identity numbers and ``seed`` alone: a larger fraction adds
    identities to those of a smaller one. ``fraction`` 0 puts everything into the rest.

    Raises ``SettingsError`` for a fraction outside [0, 1), ``DataError`` where two identities on each side are
    impossible.
    """
    if not 0 <= fraction < 1:
        raise SettingsError(
            f"The validation fraction is {fraction}, outside 0 to 1.",
            "Give the share of identities to hold out, such as 0.1; 0 holds out none.",
        )
    if fraction == 0:
        return list(records), []
    everyone = identities(records)
    place = "scene" if protocol == "cross-scene" else "camera"
    scorable = _scorable(records, images_needed, place)
    wanted = min(max(2, round(fraction * len(everyone))), len(scorable), len(everyone) - 2)
    if wanted < 2:
        rule = f"two images each, from two {place}s where {place}s are known" if images_needed > 1 else "an image each"
        raise DataError(
            f"No validation split can be carved from {len(everyone)} identities, of which {len(scorable)} can be "
            f"scored ({rule}): 2 are needed on each side.",
            "Train without a validation split (--set data.validation_fraction=0), or add identities.",
        )
    chosen = set(sorted(scorable, key=lambda identity: (derive_seed("split", seed, identity), identity))[:wanted])
    rest = [record for record in records if record.identity not in chosen]
    return rest, [record for record in records if record.identity in chosen]


def carve(
    dataset: Dataset,
    records: Sequence[Record],
    fraction: float,
    seed: int,
    images_needed: int = 2,
    say: Callable[[str], None] = lambda sentence: None,
) -> tuple[list[Record], list[Record]]:
    """``records`` of ``dataset`` in (rest, validation), as :func:`split_identities` divides them;
    of a join each dataset's identities for themselves, so that all of them are on both sides. One that has too few
    for that is all trained on, which is said.

    Raises what ``split_identities`` raises, of a join where no dataset can be divided.
    """
    if not dataset.parts:
        return split_identities(records, fraction, seed, images_needed, dataset.protocol)
    rest: list[Record] = []
    validation: list[Record] = []
    problems: list[DataError] = []
    for number, part in enumerate(dataset.parts, 1):
        own = [record for record in records if record.identity in part.identities]
        try:
            sides = split_identities(own, fraction, seed, images_needed, dataset.protocol)
        except DataError as error:
            problems.append(error)
            say(f"Dataset {number} has no part in the validation: {error.message}")
            sides = own, []
        rest += sides[0]
        validation += sides[1]
    if len(problems) == len(dataset.parts):
        raise problems[0]
    return rest, validation


def label_map(records: Iterable[Record]) -> dict[int, int]:
    """``{identity: label}`` with labels 0, 1, 2 … in the order of the identities; junk and distractors get none."""
    return {identity: label for label, identity in enumerate(sorted(identities(records)))}


def _scorable(records: Sequence[Record], images_needed: int, place: str) -> list[int]:
    several = images_needed > 1 and len({getattr(record, place) for record in records} - {None}) > 1
    images: dict[int, int] = {}
    seen_by: dict[int, set[int | None]] = {}
    for record in records:
        if record.identity > 0:
            images[record.identity] = images.get(record.identity, 0) + 1
            seen_by.setdefault(record.identity, set()).add(getattr(record, place))
    return [
        identity
        for identity, count in images.items()
        if count >= images_needed and (not several or len(seen_by[identity] - {None}) > 1)
    ]
