"""A model and a dataset to a ranking of its test split, with everything that is shown of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from reidtune.analysis import Analysis, analyse
from reidtune.data import Dataset, Record
from reidtune.data.captions import one_caption_each
from reidtune.missing import Known, rank_known
from reidtune.model import Model
from reidtune.retrieval.embed import embed_both, embed_pairs
from reidtune.retrieval.rank import RankResult
from reidtune.retrieval.scoring import rank_features, scores


@dataclass(frozen=True)
class Ranking:
    """What was ranked, how, and with what result. ``facts`` are what else ``evaluate --json`` says, ``shown`` the
    modalities of samples that have several, ``matching`` options of :func:`reidtune.retrieval.scoring.best_matches`.
    Where captions are queries, ``back`` is the result of images for captions."""

    result: RankResult
    query: Sequence[Record]
    gallery: Sequence[Record]
    features: tuple[Tensor, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)
    captions: bool = False
    back: RankResult | None = None
    shown: tuple[str, ...] = ()
    matching: dict[str, Any] = field(default_factory=dict)


def rank_dataset(model: Model, dataset: Dataset, known: Known | None = None, **options: Any) -> Ranking:
    """Rank a dataset's test split: images for images, for captions and back, or samples of what is ``known`` of them.

    ``options`` are those of :func:`reidtune.retrieval.scoring.embed_both`; ``progress`` is told (images and captions
    done, in all).

    Raises:
        DataError: an image cannot be read, or no query can be scored.
        SettingsError: the protocol needs cameras that the records do not have.
    """
    return _rank(model, dataset, **options) if known is None else _rank_known(model, dataset, known, **options)


def _rank(model: Model, dataset: Dataset, progress: Callable[[int, int], None] | None, **options: Any) -> Ranking:
    backbone, gallery, protocol = model.backbone, dataset.gallery, dataset.protocol
    text = dataset.task == "text"
    query = one_caption_each(dataset.query) if text else dataset.query
    total = len({id(record) for record in (*query, *gallery)})
    if text:
        total = len(gallery) + len({record.captions[0] for record in query})
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None:
            progress(done, total)

    if not text:
        features = embed_both(model.encode, backbone.preprocess, query, gallery, progress=count, **options)
        return Ranking(rank_features(*features, query, gallery, protocol), query, gallery, features)
    texts = (model.encode_texts, backbone.tokenizer)
    features = embed_pairs(model.encode, *texts, backbone.preprocess, query, gallery, progress=count, **options)
    back = rank_features(*features[::-1], gallery, query, protocol)
    forward = rank_features(*features, query, gallery, protocol)
    return Ranking(forward, query, gallery, features, {"image_to_text": scores(back)}, captions=True, back=back)


def _rank_known(model: Model, dataset: Dataset, known: Known, **options: Any) -> Ranking:
    """Samples of which some modalities are known."""
    ranked = rank_known(model, dataset, known, **options)
    query, gallery = ranked.query, ranked.gallery
    return Ranking(
        ranked.result,
        query.records,
        gallery.records,
        (query.features, gallery.features),
        ranked.facts,
        shown=known.shown,
        matching={"pieces": known.pieces, "rows": (query.rows, gallery.rows)},
    )


def analysed(ranking: Ranking, analysis: Analysis) -> Ranking:
    """The ranking after an analysis, of both directions where captions are queries."""
    query, gallery, matching = ranking.query, ranking.gallery, ranking.matching
    done = analyse(ranking.result, ranking.features, query, gallery, analysis, **matching)
    facts = ranking.facts | done.facts
    result = ranking.back
    if result is not None:
        back = analyse(result, ranking.features[::-1], gallery, query, replace(analysis, decisions=False))
        result = back.result
        facts["image_to_text"] = scores(back.result) | back.facts
    if done.rescored is not None:
        matching = matching | {"rescored": done.rescored}
    return replace(ranking, result=done.result, back=result, features=done.features, facts=facts, matching=matching)
