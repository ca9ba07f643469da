"""Evaluating multi-modal data: what is known of queries and gallery, also where a modality is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reidtune.data import Dataset
from reidtune.data.modality import in_order
from reidtune.errors import DataError, SettingsError
from reidtune.model import Model
from reidtune.report.tables import and_list
from reidtune.retrieval.rank import RankResult
from reidtune.retrieval.subsets import Side, Subset, choose, embed_sides, rank_sides, subsets


@dataclass(frozen=True)
class Known:
    """What is known of the samples of either side. ``joined`` are the modalities of the features, in order; empty where
    one modality is taken as plain images. ``matrix``: whether all subsets are compared as well."""

    query: Subset
    gallery: Subset
    joined: tuple[str, ...]
    matrix: bool = False

    @property
    def pieces(self) -> int:
        """Of how many equal parts a feature is."""
        return max(1, len(self.joined))

    @property
    def shown(self) -> tuple[str, ...]:
        """The modalities that a picture of samples shows."""
        return tuple(name for name in self.joined if name in {*self.query, *self.gallery})


def plan_known(
    dataset: Dataset,
    trained: Sequence[str] = (),
    *,
    single: bool = False,
    modalities: Sequence[str] | None = None,
    query: Sequence[str] | None = None,
    gallery: Sequence[str] | None = None,
    matrix: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> Known | None:
    """What is known, from what the user asked for; ``None`` where the data is of one modality and nothing was asked.

    ``modalities`` are for both sides, ``query`` and ``gallery`` for one; default: all. ``single`` takes the first of
    each side alone, as a plain image unless the delta was ``trained`` on several modalities, of which the others are
    then missing. ``say`` is told what is not plain to see.

    Raises:
        SettingsError: an unknown modality, one that the delta does not know, or data where there is nothing to choose.
    """
    own = dataset.modalities
    if not own and not (trained and dataset.task == "image"):
        for flag, given in (
            ("--modalities", modalities),
            ("--query-modalities", query),
            ("--gallery-modalities", gallery),
            ("--matrix", matrix or None),
        ):
            if given is not None:
                raise SettingsError(
                    f"{flag} is for multi-modal data, but this is {dataset.task} data.",
                    "Leave it out, or give samples of several modalities (demo:multimodal has three).",
                )
        if trained:
            raise SettingsError(
                f"The delta joins features of {and_list(trained)}, which cannot be compared with those of captions.",
                "Evaluate the images alone: --task image.",
            )
        return None
    own = own or in_order(name for record in (*dataset.query, *dataset.gallery) for name in record.modalities)
    both = own if modalities is None else choose(modalities, own)
    sides = [
        both if names is None else choose(names, own, flag)
        for names, flag in ((query, "--query-modalities"), (gallery, "--gallery-modalities"))
    ]
    if single:
        if matrix:
            raise SettingsError(
                "--matrix compares samples of several modalities, but --task image takes one.", "Leave one of them out."
            )
        sides = [side[:1] for side in sides]
        if len(own) > 1:
            one, other = sides[0][0], sides[1][0]
            say(f"One modality a sample: {one}." if one == other else f"Queries are {one} alone, the gallery {other}.")
    _check_trained(trained, (*sides[0], *sides[1]))
    if matrix:
        for side in sides:
            subsets(side)  # says where there are too many, before anything long
    absent = [name for name in trained if name not in {*sides[0], *sides[1]}]
    if absent and not single:
        say(f"The delta was also trained on {and_list(absent)}, missing here.")
    joined = tuple(trained) or (() if single else own)
    return Known(sides[0], sides[1], joined, matrix)


@dataclass(frozen=True)
class RankedSides:
    """Both sides as they were ranked, and what ``evaluate --json`` says of them."""

    result: RankResult
    query: Side
    gallery: Side
    facts: dict[str, Any]


def rank_known(model: Model, dataset: Dataset, known: Known, **options: Any) -> RankedSides:
    """Rank a dataset by what is known of it. ``options`` are those of
    :func:`reidtune.retrieval.subsets.embed_sides`. ``model.modalities`` becomes ``known.joined``.

    Raises:
        DataError: an image cannot be read, a side has nothing that is known, or no query can be scored.
    """
    model.modalities = known.joined
    wanted = [subsets(side) if known.matrix else [side] for side in (known.query, known.gallery)]
    queries, galleries = embed_sides(
        model.encode,
        model.backbone.preprocess,
        (dataset.query, wanted[0]),
        (dataset.gallery, wanted[1]),
        modalities=known.joined,
        **options,
    )
    query, gallery = queries[known.query], galleries[known.gallery]
    result = rank_sides(query, gallery, dataset.protocol, known.pieces)
    facts: dict[str, Any] = {
        "modalities": {"query": list(known.query), "gallery": list(known.gallery)},
        "left_out": {"query": query.left_out, "gallery": gallery.left_out},
    }
    if known.matrix:
        facts["matrix"] = [
            _cell(one, other, dataset.protocol, known.pieces)
            for one in queries.values()
            for other in galleries.values()
        ]
    return RankedSides(result, query, gallery, facts)


def _cell(query: Side, gallery: Side, protocol: str, pieces: int) -> dict[str, Any]:
    """One entry of the matrix; ``metrics`` is ``None`` where no query can be scored."""
    try:
        result = rank_sides(query, gallery, protocol, pieces)
    except DataError:
        result = None
    return {
        "query": list(query.subset),
        "gallery": list(gallery.subset),
        "metrics": None if result is None else result.metrics(),
        "queries": {
            "total": len(query.records),
            "skipped": len(query.records) if result is None else len(result.skipped_queries),
        },
        "left_out": {"query": query.left_out, "gallery": gallery.left_out},
    }


def _check_trained(trained: Sequence[str], used: Sequence[str]) -> None:
    foreign = [name for name in dict.fromkeys(used) if name not in trained]
    if not trained or not foreign:
        return
    both = [name for name in dict.fromkeys(used) if name in trained]
    raise SettingsError(
        f"The delta was trained on {and_list(trained)}, and the data has {and_list(foreign)}.",
        f"Evaluate what it knows: --modalities {','.join(both)}." if both else "Give data that has one of them.",
    )
