"""Rankings of datasets, and of both directions between captions and images."""

from __future__ import annotations

import torch
import torch.nn.functional as F

import reidtune.ranking as module
from reidtune.analysis import analyse, plan_analysis
from reidtune.data.record import Record
from reidtune.ranking import Ranking, analysed
from reidtune.retrieval.scoring import rank_features, scores


def test_both_directions_are_analysed_and_neither_is_ranked_again(monkeypatch):
    random = torch.Generator().manual_seed(0)
    query, gallery = [Record((), n % 4 + 1) for n in range(12)], [Record((), n % 5 + 1) for n in range(30)]
    features = tuple(F.normalize(torch.randn(len(side), 6, generator=random)) for side in (query, gallery))
    forward, back = (
        rank_features(*features, query, gallery, "all"),
        rank_features(*features[::-1], gallery, query, "all"),
    )
    facts = {"image_to_text": scores(back)}
    ranking = Ranking(forward, query, gallery, features, facts, captions=True, back=back)
    analysis = plan_analysis(rerank_with="k1=4,k2=2", intervals=True)
    expected = analyse(back, features[::-1], gallery, query, analysis)

    def refuse(*args, **options):
        raise AssertionError("ranked a second time")

    monkeypatch.setattr(module, "rank_features", refuse)
    found = analysed(ranking, analysis)
    assert found.facts["image_to_text"] == scores(expected.result) | expected.facts
    assert found.back.metrics() == expected.result.metrics() != back.metrics()
    assert found.facts["image_to_text"]["without"]["metrics"] == back.metrics()
