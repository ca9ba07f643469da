"""Rankings of scores equal rankings of features."""

from __future__ import annotations

import pytest
import torch

from reidtune.errors import ReidtuneError, SettingsError
from reidtune.retrieval.pairs import make_pairs, rank_scores
from reidtune.retrieval.rank import rank
from tests.retrieval.ranking import random_case, same_bits


def world(queries=20, gallery=50):
    random = torch.Generator().manual_seed(0)
    features = torch.randn(queries, 6, generator=random), torch.randn(gallery, 6, generator=random)
    return features, {
        "query_ids": [n % 5 for n in range(queries)],
        "gallery_ids": [n % 6 - 1 for n in range(gallery)],
        "query_cameras": [n % 3 for n in range(queries)],
        "gallery_cameras": [n % 4 for n in range(gallery)],
    }


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
@pytest.mark.parametrize("protocol", ["cross-camera", "all", "cross-scene"])
@pytest.mark.parametrize("pieces", [1, 2])
def test_scores_of_features_rank_like_features(similarity, protocol, pieces):
    features, labels = world()
    if pieces == 2:
        features[1][::4, :3] = 0
    options = labels | {"similarity": similarity, "protocol": protocol, "pieces": pieces}
    found, expected = rank_scores(make_pairs(*features, **options)), rank(*features, **options)
    torch.testing.assert_close(found.average_precision, expected.average_precision, equal_nan=True)
    assert found.metrics() == pytest.approx(expected.metrics())
    for name in ("skipped_queries", "queries", "gallery", "ignored", "protocol", "tie_rule"):
        assert getattr(found, name) == getattr(expected, name)


def test_other_scores_in_tiles_of_any_size():
    features, labels = world()
    pairs = make_pairs(*features, **labels)
    expected = rank_scores(pairs)
    scores = pairs.scores(slice(0, 20))
    parts = (slice(0, 3), slice(3, 4), slice(4, 20))
    found = rank_scores(pairs, ((part, scores[part]) for part in parts))
    torch.testing.assert_close(found.average_precision, expected.average_precision)


def test_equal_scores_keep_gallery_order():
    """Items 0 and 2 are positives: behind item 1, which equals item 2, and with item 3 left out."""
    pairs = make_pairs(torch.ones(1, 2), torch.ones(4, 2), query_ids=[7], gallery_ids=[7, 1, 7, 2], protocol="all")
    found = rank_scores(pairs, [(slice(0, 1), torch.tensor([[-1.0, 0.5, 0.5, -0.0]]))])
    assert found.average_precision.item() == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert (found.first_hit.item(), found.inverse_negative_penalty.item()) == (2, 0.5)
    found = rank_scores(pairs)
    assert found.average_precision.item() == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("protocol", ["cross-camera", "all"])
def test_ties_have_the_bounds_of_a_ranking(protocol, seed):
    """Whole numbers under a Euclidean distance, of which both ways of ranking make the same scores."""
    query, gallery, labels = random_case(seed, 30, 80, 3)
    options = {"similarity": "euclidean", "protocol": protocol, **labels}
    features = query.round(), gallery.round()
    found, expected = rank_scores(make_pairs(*features, **options)), rank(*features, **options)
    assert found.tied_queries and same_bits(found, expected)
    lone = rank_scores(make_pairs(query, gallery, **options))
    assert lone.best is None and lone.worst is None and not lone.tied_queries


def test_arrays_lists_and_doubles():
    features, labels = world()
    expected = rank_scores(make_pairs(*features, **labels)).metrics()
    for change in (lambda tensor: tensor.numpy(), lambda tensor: tensor.tolist(), lambda tensor: tensor.double()):
        assert rank_scores(make_pairs(*map(change, features), **labels)).metrics() == pytest.approx(expected)


def test_what_does_not_fit():
    features, labels = world()
    query, gallery = features
    for wrong in (
        {"query_ids": [0]},
        {"gallery_ids": [0.5] * 50},
        {"query_cameras": None},
        {"protocol": "leave-one-out"},
        {"protocol": "nothing"},
        {"similarity": "dot"},
        {"pieces": 4},
    ):
        with pytest.raises(SettingsError):
            make_pairs(query, gallery, **(labels | wrong))
    with pytest.raises(SettingsError):
        make_pairs(query[:, :5], gallery, **labels)
    with pytest.raises(SettingsError):
        make_pairs(query[0], gallery, **labels)
    with pytest.raises(ReidtuneError, match="query features of row 0 are not finite"):
        make_pairs(query / 0, gallery, **labels)
