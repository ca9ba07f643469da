"""What ``evaluate`` does with features beyond ranking them: changing or re-ranking them, decisions, intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from reidtune.data.record import Record
from reidtune.errors import SettingsError, did_you_mean
from reidtune.retrieval.bootstrap import confidence_intervals
from reidtune.retrieval.decisions import SUGGESTED, decide
from reidtune.retrieval.expansion import Expansion, expand, subtract_camera_means
from reidtune.retrieval.pairs import Pairs, make_pairs, rank_scores
from reidtune.retrieval.protocol import LEAVE_ONE_OUT, RANDOM_GALLERY
from reidtune.retrieval.rank import RankResult, rank
from reidtune.retrieval.rerank import RerankSettings, reranker_of
from reidtune.retrieval.scoring import Rows, same_rows


@dataclass(frozen=True)
class Analysis:
    """What is done, in this order: camera means are subtracted, queries expanded, the gallery re-ranked. Decisions are
    about the scores before re-ranking, which makes scores that no other gallery would give; ``fpr`` is the false
    positive rate of the suggested threshold."""

    camera_means: bool = False
    expansion: Expansion | None = None
    rerank: RerankSettings | None = None
    decisions: bool = False
    fpr: float = SUGGESTED
    intervals: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is ranked otherwise."""
        return self.camera_means or self.expansion is not None or self.rerank is not None


def plan_analysis(
    *,
    camera_means: bool = False,
    expand: str | None = None,
    rerank: bool = False,
    rerank_with: str | None = None,
    decisions: bool = False,
    at_fpr: float | None = None,
    intervals: bool = False,
    matrix: bool = False,
) -> Analysis | None:
    """An analysis from what the command line says; ``None`` where nothing is asked for. ``rerank_with`` and ``at_fpr``
    ask for re-ranking and decisions by themselves.

    Raises:
        SettingsError: an unknown setting or a value out of its range.
    """
    expansion = settings = None
    if expand is not None:
        kind, _, rest = expand.partition(":")
        expansion = Expansion(kind.strip(), **_settings("--expand", rest, {"k": int, "alpha": float, "side": str}))
    if rerank or rerank_with is not None:
        given = _settings("--rerank-with", rerank_with or "", {"k1": int, "k2": int, "lambda": float})
        if "lambda" in given:
            given["weight"] = given.pop("lambda")
        settings = RerankSettings(**given)
    if at_fpr is not None and not 0 < at_fpr < 1:
        raise SettingsError(f"--at-fpr {at_fpr} is not between 0 and 1.", "Choose a rate such as 0.001.")
    found = Analysis(camera_means, expansion, settings, decisions or at_fpr is not None, at_fpr or SUGGESTED, intervals)
    if matrix and found.changes:
        raise SettingsError("--matrix compares features as they are.", "Leave re-ranking and expansion out.")
    return None if found == Analysis() else found


def check_analysis(analysis: Analysis, protocol: str) -> None:
    """Raise :class:`SettingsError` where the protocol does not allow an analysis: galleries that are drawn at random
    have decisions alone, about all pairs but an image with itself."""
    if protocol == RANDOM_GALLERY and (analysis.changes or analysis.intervals):
        what = "Intervals over identities" if not analysis.changes else "Re-ranking, expansion or camera means"
        raise SettingsError(
            f"{what} are not for the protocol {protocol}, whose galleries are drawn ten times.",
            "Leave them out, or choose --protocol leave-one-out.",
        )


def _settings(flag: str, text: str, types: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """``k1=20,lambda=0.3`` as values of these types."""
    found: dict[str, Any] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (part.strip() for part in word.partition("="))
        if name not in types:
            raise SettingsError(f'{flag}: unknown setting "{name}".{did_you_mean(name, types)}', _known(types))
        try:
            found[name] = types[name](value)
        except ValueError:
            raise SettingsError(f'{flag}: {name} cannot be "{value}".', _known(types)) from None
    return found


def _known(types: Mapping[str, Any]) -> str:
    return f"Settings are {', '.join(types)}, as in {next(iter(types))}=10."


@dataclass(frozen=True)
class Analysed:
    """The ranking and the features [Q, D], [G, D] after an analysis, and what ``evaluate --json`` says of it.
    ``rescored`` gives re-ranked scores of some queries, see :func:`reidtune.retrieval.scoring.best_matches`."""

    result: RankResult
    features: tuple[Tensor, Tensor]
    facts: dict[str, Any]
    rescored: Callable[[slice], Tensor] | None = None


def analyse(
    result: RankResult,
    features: tuple[Any, Any],
    query: Sequence[Record],
    gallery: Sequence[Record],
    analysis: Analysis,
    *,
    similarity: str = "cosine",
    pieces: int = 1,
    rows: Rows | None = None,
) -> Analysed:
    """Analyse what was ranked with this ``result``; the other arguments are those of
    :func:`reidtune.retrieval.scoring.rank_features`.

    Raises:
        SettingsError: camera means without cameras, or what Euclidean distances or the protocol do not allow.
        DataError: decisions where all pairs are of one kind.
    """
    protocol, of = result.protocol, "cosine" if similarity == "cosine" else "minus the squared Euclidean distance"
    check_analysis(analysis, protocol)
    if protocol == RANDOM_GALLERY:  # which image is the gallery matters to no pair
        protocol, of = LEAVE_ONE_OUT, f"{of} of all test images"
        rows = rows or same_rows(query, gallery)
    places = [_places(side, "scene" if protocol == "cross-scene" else "camera") for side in (query, gallery)]
    pairs = make_pairs(
        *features,
        query_ids=[record.identity for record in query],
        gallery_ids=[record.identity for record in gallery],
        query_cameras=places[0],
        gallery_cameras=places[1],
        query_rows=None if rows is None else rows[0],
        gallery_rows=None if rows is None else rows[1],
        protocol=protocol,
        similarity=similarity,
        pieces=pieces,
    )
    facts: dict[str, Any] = {"applied": {}, "without": {"metrics": result.metrics()}} if analysis.changes else {}
    rescored = None
    if analysis.camera_means:
        cameras = _places(query, "camera"), _places(gallery, "camera")
        if cameras[0] is None or cameras[1] is None:
            raise SettingsError(
                "Camera means need the camera of every image, and some have none.", "Leave --camera-means out."
            )
        pairs = subtract_camera_means(pairs, cameras[0], cameras[1])
        facts["applied"]["camera_means"] = {
            "of": "query and gallery of this test split",
            "cameras": len({*cameras[0], *cameras[1]}),
        }
    if analysis.expansion is not None:
        one, other = (torch.tensor(side) for side in rows or same_rows(query, gallery))
        pairs = expand(pairs, analysis.expansion, (one, other[pairs.kept]))
        facts["applied"]["expansion"] = analysis.expansion.describe()
    if analysis.camera_means or analysis.expansion is not None:
        result = replace(_rank(pairs), ignored=result.ignored)
        whole = pairs.gallery.new_zeros(len(gallery), pairs.gallery.shape[1])
        whole[pairs.kept] = pairs.gallery
        features = pairs.query, whole
    if analysis.rerank is not None:
        one, other = (torch.tensor([id(record) for record in side]) for side in (query, gallery))
        reranker = reranker_of(pairs, analysis.rerank, (one, other[pairs.kept]))
        result, rescored = rank_scores(pairs, reranker.tiles()), reranker.scores
        facts["applied"]["reranking"] = analysis.rerank.describe()
    if analysis.decisions:
        changed = " of the changed features" if analysis.camera_means or analysis.expansion is not None else ""
        facts["decisions"] = {"scores": of + changed, **decide(pairs, fpr=analysis.fpr).to_json()}
    if analysis.intervals:
        facts["intervals"] = confidence_intervals(result, pairs.query_ids).to_json()
    return Analysed(result, features, facts, rescored)


def _rank(pairs: Pairs) -> RankResult:
    return rank(
        pairs.query,
        pairs.gallery,
        query_ids=pairs.query_ids,
        gallery_ids=pairs.gallery_ids,
        query_cameras=pairs.query_places,
        gallery_cameras=pairs.gallery_places,
        query_rows=pairs.query_rows,
        gallery_rows=pairs.gallery_rows,
        protocol=pairs.protocol,
        pieces=pairs.pieces,
    )


def _places(records: Sequence[Record], key: str) -> list[int] | None:
    values = [getattr(record, key) for record in records]
    return None if any(value is None for value in values) else values
