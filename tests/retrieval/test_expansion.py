"""Query expansion and camera means against their formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from reidtune.errors import SettingsError
from reidtune.retrieval.expansion import Expansion, expand, subtract_camera_means
from reidtune.retrieval.pairs import make_pairs


def two_sides(seed=0, queries=7, gallery=25, **options):
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(queries, 6, generator=random), torch.randn(gallery, 6, generator=random)
    ids = [0] * queries, [n % 3 - 1 for n in range(gallery)]  # every third is junk
    options = {"protocol": "all"} | options
    return make_pairs(*features, query_ids=ids[0], gallery_ids=ids[1], **options)


def weighted(query, gallery, k, power, without=None):
    """One query's expansion, as the formula says."""
    cosines = gallery @ query
    order = [place for place in cosines.argsort(descending=True, stable=True).tolist() if place != without][:k]
    weights = cosines[order].clamp(min=0) ** power if power is not None else torch.ones(len(order))
    return F.normalize(query + (weights[:, None] * gallery[order]).sum(0), dim=0)


@pytest.mark.parametrize(("kind", "power"), [("aqe", None), ("alpha-qe", 3.0), ("alpha-qe", 0.5)])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_queries_move_towards_their_neighbours(kind, power, k):
    pairs = two_sides()
    found = expand(pairs, Expansion(kind, k, 3.0 if power is None else power))
    expected = torch.stack([weighted(query, pairs.gallery, k, power) for query in pairs.query])
    torch.testing.assert_close(found.query, expected)
    assert found.gallery is pairs.gallery
    assert len(pairs.gallery) == 16  # of 25, nine are junk


def test_both_sides_expand_the_gallery_first():
    pairs = two_sides()
    found = expand(pairs, Expansion("aqe", 3, side="both"))
    gallery = torch.stack(
        [weighted(item, pairs.gallery, 3, None, without=place) for place, item in enumerate(pairs.gallery)]
    )
    torch.testing.assert_close(found.gallery, gallery)
    torch.testing.assert_close(found.query, torch.stack([weighted(query, gallery, 3, None) for query in pairs.query]))


def test_under_leave_one_out_a_query_is_not_its_own_neighbour():
    features = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    ids = [n % 3 for n in range(12)]
    pairs = make_pairs(features, features, query_ids=ids, gallery_ids=ids, protocol="leave-one-out")
    found = expand(pairs, Expansion("aqe", 2))
    expected = [weighted(query, pairs.gallery, 2, None, without=place) for place, query in enumerate(pairs.query)]
    torch.testing.assert_close(found.query, torch.stack(expected))


def test_neighbours_fill_a_missing_modality():
    pairs = two_sides(pieces=2)
    pairs.query[0, :3] = 0
    assert expand(pairs, Expansion("aqe", 2)).query[0, :3].any()


def test_camera_means_are_of_both_sides_without_junk():
    pairs = two_sides()
    cameras = [n % 2 for n in range(7)], [n % 2 for n in range(25)]
    found = subtract_camera_means(pairs, *cameras)
    kept = [n for n in range(25) if n % 3 != 0]
    for camera in (0, 1):
        query = pairs.query[camera::2]
        gallery = pairs.gallery[[place for place, n in enumerate(kept) if n % 2 == camera]]
        mean = torch.cat([query, gallery]).mean(0)
        torch.testing.assert_close(found.query[camera::2], F.normalize(query - mean))
        places = [place for place, n in enumerate(kept) if n % 2 == camera]
        torch.testing.assert_close(found.gallery[places], F.normalize(gallery - mean))


def test_a_camera_with_one_image_takes_the_mean_of_all():
    pairs = two_sides()
    found = subtract_camera_means(pairs, [9, *[4] * 6], [4] * 25)
    mean = torch.cat([pairs.query, pairs.gallery]).mean(0)
    torch.testing.assert_close(found.query[0], F.normalize(pairs.query[0] - mean, dim=0))


def test_camera_means_leave_what_is_missing():
    pairs = two_sides(pieces=2)
    pairs.query[:3, 3:] = 0
    found = subtract_camera_means(pairs, [0] * 7, [0] * 25)
    assert not found.query[:3, 3:].any()
    first = torch.cat([pairs.query, pairs.gallery])[:, 3:]
    mean = first.sum(0) / first.any(1).sum()
    part = pairs.query[3, 3:] - mean
    torch.testing.assert_close(F.normalize(found.query[3, 3:], dim=0), F.normalize(part, dim=0))


def test_both_need_cosines():
    pairs = two_sides(similarity="euclidean")
    with pytest.raises(SettingsError, match="cosines"):
        expand(pairs, Expansion())
    with pytest.raises(SettingsError, match="length 1"):
        subtract_camera_means(pairs, [0] * 7, [0] * 25)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"kind": "aq"}, 'Did you mean "aqe"'),
        ({"side": "gallery"}, "query, both"),
        ({"k": 0}, "k is 0"),
        ({"k": 2.0}, "k is 2.0"),
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"alpha": float("nan")}, "alpha=nan"),
    ],
)
def test_settings_out_of_range(wrong, sentence):
    with pytest.raises(SettingsError, match=sentence):
        Expansion(**wrong)
