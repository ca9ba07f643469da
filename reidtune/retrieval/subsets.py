"""Samples of which only some modalities are known, on the side of the query, of the gallery, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.modality import modality_name
from reidtune.data.record import Record
from reidtune.errors import DataError, SettingsError, did_you_mean
from reidtune.retrieval.embed import Encode, embed_records
from reidtune.retrieval.feature_cache import FeatureCache
from reidtune.retrieval.rank import RankResult
from reidtune.retrieval.scoring import rank_features

Subset = tuple[str, ...]
MATRIX_MODALITIES = 4  # 15 subsets a side, 225 rankings


def choose(names: Iterable[str], modalities: Sequence[str], flag: str = "--modalities") -> Subset:
    """Those of ``modalities`` that ``names`` mean, in their order; ``TI`` means ``tir``.

    Raises:
        SettingsError: there are none, or one is not among them; ``flag`` is what the sentence calls them.
    """
    found = set()
    for name in names:
        meant = name if name in modalities else modality_name(name)
        if meant not in modalities:
            raise SettingsError(
                f'{flag}: the data has no modality "{name}".{did_you_mean(meant, modalities)}',
                f"It has {', '.join(modalities)}.",
            )
        found.add(meant)
    if not found:
        raise SettingsError(f"{flag} names no modality.", f"Choose some of {', '.join(modalities)}.")
    return tuple(name for name in modalities if name in found)


def subsets(modalities: Sequence[str]) -> list[Subset]:
    """All subsets but the empty one, the smallest first: 2^M − 1 of M modalities.

    Raises:
        SettingsError: more than :data:`MATRIX_MODALITIES` modalities.
    """
    if len(modalities) > MATRIX_MODALITIES:
        raise SettingsError(
            f"--matrix: {len(modalities)} modalities have {2 ** len(modalities) - 1} subsets, too many for a table.",
            f"Name at most {MATRIX_MODALITIES} of them: --modalities {','.join(modalities[:MATRIX_MODALITIES])}.",
        )
    return [one for size in range(1, len(modalities) + 1) for one in combinations(modalities, size)]


def restrict(record: Record, subset: Sequence[str]) -> Record | None:
    """What is left of ``record`` where only the modalities of ``subset`` are known; ``None`` where nothing is."""
    images = {name: image for name, image in zip(record.modalities, record.images, strict=True) if name in set(subset)}
    if len(images) == len(record.images):
        return record
    return replace(record, images=tuple(images.values()), modalities=tuple(images)) if images else None


@dataclass(frozen=True)
class Side:
    """The query or the gallery, known by ``subset`` only: its records, so far as they have some of it, and the number
    of those ``left_out`` since they have none.

    ``rows`` says which records of both sides are the same sample. Features are ``places`` of a ``table`` that other
    sides share.
    """

    subset: Subset
    records: list[Record]
    rows: list[int]
    left_out: int
    places: list[int]
    table: Tensor

    @property
    def features(self) -> Tensor:
        """[N, D], L2-normalised."""
        return self.table[self.places]


Sides = dict[Subset, Side]


def embed_sides(
    encode: Encode,
    preprocess: Preprocess,
    query: tuple[Sequence[Record], Sequence[Subset]],
    gallery: tuple[Sequence[Record], Sequence[Subset]],
    *,
    modalities: Sequence[str] = (),
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    cache: FeatureCache | None = None,
) -> tuple[Sides, Sides]:
    """Query and gallery, each records and the subsets that are wanted of them, by subset.

    What is known of a sample is embedded once, whichever sides and subsets it serves for. ``modalities`` are those of
    the features, see :func:`reidtune.retrieval.embed.embed_records`; empty: subsets are of one, taken as plain images.
    ``progress`` is told (samples done, in all).

    Raises:
        DataError: an image cannot be read, or no record of a side has anything of any subset that is wanted of it.
    """
    rows = {key: row for row, key in enumerate(dict.fromkeys(id(record) for record in (*query[0], *gallery[0])))}
    wanted: dict[tuple[int, Subset], int] = {}  # a sample and what is known of it, to its place in the table
    known: list[Record] = []
    sides = [
        [_collect(subset, records, rows, wanted, known) for subset in chosen] for records, chosen in (query, gallery)
    ]
    for name, plans in zip(("query", "gallery"), sides, strict=True):
        if not any(plan.records for plan in plans):
            names = dict.fromkeys(modality for plan in plans for modality in plan.subset)
            raise DataError(f"No sample of the {name} has any of {', '.join(names)}.", "Choose other modalities of it.")
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None:
            progress(done, len(known))

    options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "progress": count, "cache": cache}
    table = embed_records(encode, known, preprocess, modalities=modalities, **options)
    one, other = ({plan.subset: replace(plan, table=table) for plan in plans} for plans in sides)
    return one, other


def _collect(
    subset: Subset,
    records: Sequence[Record],
    rows: Mapping[int, int],
    wanted: dict[tuple[int, Subset], int],
    known: list[Record],
) -> Side:
    """A side without features yet. What has no place in the table yet is added to ``wanted`` and ``known``."""
    places: list[int] = []
    kept: list[int] = []
    for record in records:
        part = restrict(record, subset)
        if part is None:
            continue
        key = (id(record), part.modalities)
        if key not in wanted:
            wanted[key] = len(known)
            known.append(part)
        places.append(wanted[key])
        kept.append(rows[id(record)])
    return Side(subset, [known[place] for place in places], kept, len(records) - len(kept), places, torch.empty(0))


def rank_sides(query: Side, gallery: Side, protocol: str, pieces: int) -> RankResult:
    """Rank a gallery for a query side; features are ``pieces`` equal parts, see :func:`reidtune.retrieval.rank.rank`.

    Raises:
        DataError: no query can be scored under this protocol.
        SettingsError: the protocol needs cameras that the records do not have.
    """
    if not (query.records and gallery.records):
        side = query if not query.records else gallery
        raise DataError(f"No sample has any of {', '.join(side.subset)}.", "Choose other modalities.")
    return rank_features(
        query.features,
        gallery.features,
        query.records,
        gallery.records,
        protocol,
        pieces=pieces,
        rows=(query.rows, gallery.rows),
    )
