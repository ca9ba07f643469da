"""The protocol of VehicleID: what is drawn, that each draw is ranked as it is, and that the mean is one over draws."""

from __future__ import annotations

import statistics

import pytest
import torch

import reidtune
from reidtune.errors import DataError, SettingsError
from reidtune.retrieval.random_gallery import DRAWS, RandomGalleryResult, draw_gallery, rank_random_galleries

IDS = torch.tensor([4, 2, 4, 7, 2, 4, 9, 9, 2, 4])  # 7 has one image
FEATURES = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ranked(ids=IDS, features=FEATURES, **options) -> RandomGalleryResult:
    return reidtune.rank(features, features, query_ids=ids, gallery_ids=ids, protocol="random-gallery", **options)


def test_every_identity_has_one_image_in_the_gallery():
    for seed in range(20):
        chosen = draw_gallery(IDS, generator(seed))
        assert sorted(IDS[chosen].tolist()) == [2, 4, 7, 9]
        assert chosen.tolist() == sorted(chosen.tolist())


def test_every_image_of_an_identity_is_as_likely():
    times = torch.zeros(len(IDS))
    for seed in range(2000):
        times[draw_gallery(IDS, generator(seed))] += 1
    for identity, images in ((2, 3), (4, 4), (7, 1), (9, 2)):
        assert times[identity == IDS].tolist() == pytest.approx([2000 / images] * images, rel=0.15)


def test_distractors_are_in_every_gallery_and_junk_in_none():
    ids = torch.tensor([0, -1, 5, 5, 0, -1])
    for seed in range(5):
        chosen = draw_gallery(ids, generator(seed)).tolist()
        assert {0, 4} <= set(chosen)
        assert len(chosen) == 3
        assert not {1, 5} & set(chosen)


def test_what_is_not_drawn_asks_and_finds_its_one_positive():
    """The first draw by plain loops: of one positive, average precision is 1 / rank."""
    result = ranked()
    asking, chosen = (side.tolist() for side in result.sides)
    assert sorted(asking + chosen) == list(range(10))
    first = result.draws[0]
    for place, query in enumerate(asking):
        unit = torch.nn.functional.normalize(FEATURES, dim=1)
        scores = [(float(unit[query] @ unit[item]), IDS[item] == IDS[query]) for item in chosen]
        rank_of = [same for _, same in sorted(scores, key=lambda one: -one[0])].index(True) + 1
        assert first.first_hit[place] == rank_of
        assert first.average_precision[place].item() == pytest.approx(1 / rank_of)


def test_metrics_are_means_over_draws_with_their_standard_deviation():
    result = ranked()
    assert isinstance(result, RandomGalleryResult)
    assert (len(result.draws), result.protocol) == (DRAWS, "random-gallery") == (10, "random-gallery")
    assert (result.queries, result.gallery, result.skipped_queries, result.ignored) == (6, 4, (), 0)
    for name, value in result.metrics().items():
        draws = [draw.metrics()[name] for draw in result.draws]
        assert value == pytest.approx(statistics.fmean(draws))
        assert result.deviation()[name] == pytest.approx(statistics.stdev(draws))
    assert result.deviation()["rank-1"] > 0
    assert result.metrics()["rank-1"] == result.cmc(1)


def test_the_draws_differ_and_are_always_the_same():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, other = ranked(), ranked()
    assert torch.equal(torch.get_rng_state(), before)
    assert one.metrics() == other.metrics()
    assert len({tuple(draw.first_hit.tolist()) for draw in one.draws}) > 1
    sides = [torch.arange(10)] * 2
    seeded = [rank_random_galleries(FEATURES, FEATURES, IDS, IDS, *sides, seed=seed).sides[1] for seed in range(5)]
    assert len({tuple(side.tolist()) for side in seeded}) > 1


def test_right_features_find_everything():
    features = torch.eye(10)[IDS]
    result = ranked(features=features)
    assert result.metrics() == dict.fromkeys(result.metrics(), 1.0)
    assert result.deviation() == dict.fromkeys(result.metrics(), 0.0)


def test_an_only_image_is_never_a_query():
    result = ranked()
    assert result.average_precision[3].isnan()
    assert result.first_hit[3] == 0
    several = result.average_precision[IDS != 7]
    assert not several.isnan().any()


def test_per_item_values_are_means_over_the_draws_in_which_it_asked():
    ids = torch.tensor([1, 1, 2])
    features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    result = rank_random_galleries(features, features, ids, ids, *[torch.arange(3)] * 2, draws=4)
    assert result.average_precision[:2].tolist() == [1, 1]
    assert result.first_hit.tolist() == [1, 1, 0]
    far = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [0.0, 1.0]])
    result = rank_random_galleries(far, far, ids, ids, *[torch.arange(3)] * 2, draws=4)
    assert result.average_precision[:2].tolist() == [0.5, 0.5]


def test_distractors_and_junk_of_one_set_never_ask():
    ids = torch.cat([IDS, torch.tensor([0, 0, -1])])
    features = torch.cat([FEATURES, FEATURES[:2], FEATURES[2:3]])
    result = ranked(ids, features)
    assert (result.queries, result.gallery, result.ignored) == (6, 6, 1)
    assert result.mean_average_precision < ranked().mean_average_precision  # as near as an image of the same


def test_rows_say_which_samples_are_the_same():
    """The gallery's view of a sample may be another one than the query's: it is not its own query."""
    rows = torch.arange(10)
    shown = reidtune.rank(
        FEATURES,
        FEATURES.flip(0),
        query_ids=IDS,
        gallery_ids=IDS.flip(0),
        query_rows=rows,
        gallery_rows=rows.flip(0),
        protocol="random-gallery",
    )
    asking, chosen = shown.sides
    assert not set(asking.tolist()) & set((9 - chosen).tolist())
    assert shown.queries == 6


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(SettingsError, match="random-gallery needs one set as query and gallery, but there are 10"):
        reidtune.rank(FEATURES, FEATURES[:4], query_ids=IDS, gallery_ids=IDS[:4], protocol="random-gallery")
    with pytest.raises(DataError, match="no identity has two images"):
        ranked(torch.arange(1, 11))
    with pytest.raises(SettingsError, match="number of draws is 0"):
        rank_random_galleries(FEATURES, FEATURES, IDS, IDS, *[torch.arange(10)] * 2, draws=0)


def test_one_draw_has_no_deviation():
    result = rank_random_galleries(FEATURES, FEATURES, IDS, IDS, *[torch.arange(10)] * 2, draws=1)
    assert set(result.deviation().values()) == {0.0}
    assert result.metrics() == result.draws[0].metrics()


def test_ties_have_bounds_over_all_draws():
    """With equal features, of four gallery images one is right: first, or last."""
    result = ranked(features=torch.ones(10, 5))
    assert (result.best.cmc(1), result.worst.cmc(3), result.worst.cmc(4)) == (1, 0, 1)
    assert result.worst.metrics()["mAP"] == pytest.approx(0.25)
    assert result.tied_queries == result.near_queries == (0, 1, 2, 4, 5, 6, 7, 8, 9)  # whatever asks in any draw
    assert ranked().best is None and ranked().worst is None and not ranked().tied_queries


def test_bounds_of_draws_of_which_some_have_ties():
    features = FEATURES.clone()
    features[1] = features[6]  # of 2 and 9
    result = ranked(features=features)
    assert 0 < sum(draw.best is not None for draw in result.draws) < DRAWS
    for side in ("best", "worst"):
        draws = [getattr(draw, side) or draw for draw in result.draws]
        for name, value in getattr(result, side).metrics().items():
            assert value == pytest.approx(statistics.fmean(draw.metrics()[name] for draw in draws))
    assert set(result.tied_queries) >= {int(result.sides[0][place]) for place in result.draws[0].tied_queries}
    assert result.worst.mean_average_precision <= result.mean_average_precision <= result.best.mean_average_precision


def test_distances_are_taken_too():
    near = ranked(similarity="euclidean", features=FEATURES * torch.arange(1, 11)[:, None])
    assert near.metrics() != ranked(features=FEATURES * torch.arange(1, 11)[:, None]).metrics()
