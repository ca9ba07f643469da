"""What evaluate does beyond ranking: settings from words, and what is said of the result."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from reidtune.analysis import Analysis, analyse, check_analysis, plan_analysis
from reidtune.data.record import Record
from reidtune.errors import SettingsError
from reidtune.retrieval.decisions import decisions
from reidtune.retrieval.expansion import Expansion
from reidtune.retrieval.rank import rank
from reidtune.retrieval.rerank import RerankSettings, rerank
from reidtune.retrieval.scoring import best_matches, rank_features


def test_words_become_settings():
    assert plan_analysis() is None
    assert plan_analysis(rerank=True) == Analysis(rerank=RerankSettings())
    assert plan_analysis(rerank_with="k1=7, lambda=0.5").rerank == RerankSettings(7, 6, 0.5)
    assert plan_analysis(expand="aqe").expansion == Expansion("aqe")
    assert plan_analysis(expand="alpha-qe:k=3,alpha=2,side=both").expansion == Expansion("alpha-qe", 3, 2.0, "both")
    assert plan_analysis(at_fpr=0.01) == Analysis(decisions=True, fpr=0.01)
    assert plan_analysis(intervals=True, matrix=True) == Analysis(intervals=True)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"expand": "aqr"}, 'Did you mean "aqe"'),
        ({"expand": "aqe:kk=3"}, 'unknown setting "kk"'),
        ({"expand": "aqe:k=many"}, 'k cannot be "many"'),
        ({"rerank_with": "k3=1"}, 'unknown setting "k3"'),
        ({"rerank_with": "k1"}, 'k1 cannot be ""'),
        ({"rerank_with": "lambda=2"}, "lambda=2.0"),
        ({"at_fpr": 0.0}, "not between 0 and 1"),
        ({"matrix": True, "rerank": True}, "--matrix compares"),
    ],
)
def test_words_that_mean_nothing(wrong, sentence):
    with pytest.raises(SettingsError, match=sentence):
        plan_analysis(**wrong)


@pytest.fixture
def world():
    """Features of 12 queries and 40 gallery items, some of them junk, and their records."""
    random = torch.Generator().manual_seed(0)
    features = tuple(F.normalize(torch.randn(count, 6, generator=random)) for count in (12, 40))
    records = (
        [Record((), n % 4, camera=n % 3) for n in range(12)],
        [Record((), n % 5 - 1, camera=n % 2) for n in range(40)],
    )
    return features, *records


def labels(query, gallery):
    return {
        f"{side}_{name}s": [getattr(record, key) for record in records]
        for side, records in (("query", query), ("gallery", gallery))
        for name, key in (("id", "identity"), ("camera", "camera"))
    }


def test_the_result_is_the_re_ranked_one_with_the_other_beside_it(world):
    features, query, gallery = world
    plain = rank_features(*features, query, gallery, "cross-camera")
    done = analyse(plain, features, query, gallery, plan_analysis(rerank_with="k1=5,k2=3"))
    expected = rerank(*features, **labels(query, gallery), k1=5, k2=3)
    assert done.result.metrics() == expected.metrics() != plain.metrics()
    assert done.facts["without"]["metrics"] == plain.metrics()
    assert done.facts["applied"]["reranking"]["k1"] == 5
    assert "decisions" not in done.facts and "intervals" not in done.facts
    best = best_matches(*features, query, gallery, "cross-camera", 1, 50, rescored=done.rescored)
    hits = [place for place, record in enumerate(best, 1) if record.identity == query[1].identity]
    assert hits[0] == done.result.first_hit[1]
    assert not any(record.identity == -1 for record in best)


def test_expansion_and_means_change_the_features(world):
    features, query, gallery = world
    plain = rank_features(*features, query, gallery, "cross-camera")
    done = analyse(plain, features, query, gallery, plan_analysis(expand="aqe:k=2", camera_means=True, decisions=True))
    again = rank(*done.features, **labels(query, gallery))
    assert done.result.metrics() == pytest.approx(again.metrics())
    assert (done.result.gallery, done.result.ignored) == (32, 8)
    assert set(done.facts["applied"]) == {"camera_means", "expansion"}
    assert done.facts["applied"]["camera_means"]["cameras"] == 3
    assert done.facts["decisions"]["scores"] == "cosine of the changed features"


def test_decisions_stay_with_the_scores_before_re_ranking(world):
    features, query, gallery = world
    plain = rank_features(*features, query, gallery, "cross-camera")
    alone, both = (
        analyse(plain, features, query, gallery, plan_analysis(at_fpr=0.1, rerank=rerank)).facts["decisions"]
        for rerank in (False, True)
    )
    assert alone == both
    assert alone["scores"] == "cosine"
    assert alone["pairs"]["genuine"] + alone["pairs"]["impostor"] < 12 * 32  # without junk and the own camera


def test_one_set_that_is_query_and_gallery_stands_once_when_re_ranked(world):
    _, _, gallery = world
    records = [record for record in gallery if record.identity != -1]
    features = F.normalize(torch.randn(len(records), 4, generator=torch.Generator().manual_seed(1)))
    plain = rank_features(features, features, records, records, "leave-one-out")
    done = analyse(plain, (features, features), records, records, plan_analysis(rerank_with="k1=4,k2=2"))
    ids = [record.identity for record in records]
    names = {"query_ids": ids, "gallery_ids": ids, "protocol": "leave-one-out"}
    assert done.result.metrics() == rerank(features, features, **names, k1=4, k2=2).metrics()


@pytest.mark.parametrize("side", ["query", "both"])
def test_an_image_of_one_set_is_no_neighbour_of_itself(world, side):
    """Junk is the gallery's alone. With the image itself among its neighbours, k=1 would change no query at all."""
    _, _, gallery = world
    features = F.normalize(torch.randn(len(gallery), 4, generator=torch.Generator().manual_seed(2)))
    asks = torch.tensor([record.identity > 0 for record in gallery])
    kept = torch.tensor([record.identity >= 0 for record in gallery])
    query, sides = [record for record in gallery if record.identity > 0], (features[asks], features)
    plain = rank_features(*sides, query, gallery, "cross-camera")
    done = analyse(plain, sides, query, gallery, plan_analysis(expand=f"aqe:k=1,side={side}"))
    cosines = features @ features.T
    cosines[:, ~kept] = -2
    nearest = cosines.fill_diagonal_(-2).argmax(1)
    near = features[nearest]
    if side == "both":
        expanded = F.normalize(features + near)
        cosines = features @ expanded.T
        cosines[:, ~kept] = -2
        near = expanded[cosines.fill_diagonal_(-2).argmax(1)]
    torch.testing.assert_close(done.features[0], F.normalize(features + near)[asks])


def test_names_do_not_make_a_caption_and_its_image_one_sample(world):
    features, _, gallery = world
    random = torch.Generator().manual_seed(3)
    sides = F.normalize(torch.randn(40, 6, generator=random)), features[1]
    plain = rank_features(*sides, gallery, gallery, "all")
    done = analyse(plain, sides, gallery, gallery, plan_analysis(expand="aqe:k=1"))
    kept = torch.tensor([record.identity >= 0 for record in gallery])
    near = sides[1][kept][(sides[0] @ sides[1][kept].T).argmax(1)]
    torch.testing.assert_close(done.features[0], F.normalize(sides[0] + near))


def test_camera_means_need_cameras(world):
    features, query, gallery = world
    unknown = [Record((), record.identity) for record in gallery]
    plain = rank_features(*features, query, unknown, "all")
    with pytest.raises(SettingsError, match="some have none"):
        analyse(plain, features, query, unknown, plan_analysis(camera_means=True))


@pytest.mark.parametrize("wrong", [{"rerank": True}, {"expand": "aqe"}, {"camera_means": True}, {"intervals": True}])
def test_random_galleries_have_decisions_alone(wrong):
    """Else each query would be compared with itself."""
    with pytest.raises(SettingsError, match="are not for the protocol random-gallery"):
        check_analysis(plan_analysis(**wrong), "random-gallery")
    check_analysis(plan_analysis(**wrong), "leave-one-out")
    with pytest.raises(SettingsError, match="draws galleries to rank"):
        rerank([[1.0]], [[1.0]], query_ids=[1], gallery_ids=[1], protocol="random-gallery")


def test_decisions_beside_random_galleries_are_about_all_pairs_but_an_image_with_itself(world):
    features, _, gallery = world
    people = [record for record in gallery if record.identity > 0]
    rows = torch.tensor([record.identity > 0 for record in gallery])
    both = (features[1][rows],) * 2
    result = rank_features(*both, people, people, "random-gallery")
    found = analyse(result, both, people, people, Analysis(decisions=True)).facts["decisions"]
    ids = [record.identity for record in people]
    wanted = decisions(*both, query_ids=ids, gallery_ids=ids, protocol="leave-one-out").to_json()
    assert found == {"scores": "cosine of all test images"} | wanted
    assert found["pairs"]["genuine"] == sum(ids.count(one) - 1 for one in ids)
