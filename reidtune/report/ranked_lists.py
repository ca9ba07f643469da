"""Ranked lists of an evaluation as a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reidtune.ranking import Ranking
from reidtune.report.pictures import RankedRow, ranked_sheet, save_picture
from reidtune.retrieval.random_gallery import RandomGalleryResult
from reidtune.retrieval.scoring import best_matches

SHEET_ROWS, SAMPLE_ROWS, SHEET_RESULTS = 6, 3, 10


def draw_sheet(ranking: Ranking, path: Path) -> None:
    """A picture of ranked lists: queries (images, captions or samples of several modalities) from the worst to the best
    average precision, evenly apart, their first results framed green (right) or red (wrong). Of several draws the first
    is drawn.

    Raises:
        ReidtuneError: it cannot be written.
    """
    ranking = _first_draw(ranking)
    result, query, gallery = ranking.result, ranking.query, ranking.gallery
    precision = result.average_precision.nan_to_num(2.0)  # skipped queries last, where they are not drawn
    order = precision.argsort(stable=True).tolist()[: result.queries - len(result.skipped_queries)]
    count = min(SAMPLE_ROWS if len(ranking.shown) > 1 else SHEET_ROWS, len(order))
    chosen = [order[round(place * (len(order) - 1) / max(1, count - 1))] for place in range(count)]
    rows = []
    for index in chosen:
        best = best_matches(
            *ranking.features, query, gallery, result.protocol, index, SHEET_RESULTS, **ranking.matching
        )
        label = f"AP {100 * precision[index]:.1f}"
        rows.append(RankedRow(query[index], best, label, query[index].captions[0] if ranking.captions else None))
    save_picture(ranked_sheet(rows, modalities=ranking.shown), path)


def _first_draw(ranking: Ranking) -> Ranking:
    if not isinstance(ranking.result, RandomGalleryResult):
        return ranking
    asking, chosen = (places.tolist() for places in ranking.result.sides)
    return replace(
        ranking,
        result=ranking.result.draws[0],
        query=[ranking.query[place] for place in asking],
        gallery=[ranking.gallery[place] for place in chosen],
        features=(ranking.features[0][asking], ranking.features[1][chosen]),
        matching={name: value for name, value in ranking.matching.items() if name != "rows"},
    )
