from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reidtune.data.scorable import scorable
from reidtune.errors import DataError
from reidtune.retrieval.rank import rank
from tests.data.conftest import names, record


@pytest.mark.parametrize("protocol", ["cross-camera", "cross-scene", "all", "leave-one-out"])
@pytest.mark.parametrize("seed", range(6))
def test_the_same_queries_are_skipped_as_by_ranking(protocol, seed):
    rng = np.random.default_rng(seed)
    query = [record(int(rng.integers(1, 9)), int(rng.integers(3)), f"q{i}") for i in range(14)]
    gallery = [record(int(rng.integers(-1, 9)), int(rng.integers(3)), f"g{i}") for i in range(20)]
    if protocol == "cross-scene":
        query, gallery = ([replace(one, scene=one.camera, camera=None) for one in side] for side in (query, gallery))
    if protocol == "leave-one-out":
        gallery = query
    places = [[one.scene if protocol == "cross-scene" else one.camera for one in side] for side in (query, gallery)]
    features = [rng.normal(size=(len(side), 4)) for side in (query, gallery)]
    result = rank(
        *features,
        query_ids=[one.identity for one in query],
        gallery_ids=[one.identity for one in gallery],
        query_cameras=places[0],
        gallery_cameras=places[1],
        protocol=protocol,
    )
    found = scorable(query, gallery, protocol)
    assert sorted(names([*found.absent, *found.ignored])) == sorted(names(query[i] for i in result.skipped_queries))
    assert found.scored == len(query) - len(result.skipped_queries)


def test_why_queries_are_skipped_and_which_identities_are_lost():
    query = [record(1, 1, "a"), record(1, 2, "b"), record(2, 1, "c"), record(3, 1, "d"), record(3, 1, "e")]
    gallery = [record(1, 1), record(2, 2), record(3, 1), record(0, 5), record(-1, 5)]
    found = scorable([*query, record(4, 1, "f")], gallery, "cross-camera")
    assert names(found.absent) == ["f"]
    assert names(found.ignored) == ["a", "d", "e"]
    assert found.lost == [3]  # b of identity 1 has a positive
    assert scorable(query, gallery, "all").scored == 5


def test_nothing_to_score_is_what_ranking_refuses():
    query = [record(1, 1)]
    assert scorable(query, query, "cross-camera").scored == 0
    with pytest.raises(DataError):
        rank([[1.0]], [[1.0]], query_ids=[1], gallery_ids=[1], query_cameras=[1], gallery_cameras=[1])


def test_of_a_random_gallery_one_image_an_identity_is_no_query():
    people = [record(1), record(1), record(1), record(2), record(2), record(3), record(0)]
    found = scorable([one for one in people if one.identity], people, "random-gallery")
    assert (found.queries, found.scored) == (4, 3)
    assert [one.identity for one in found.ignored] == [3]
    features = np.eye(len(people))
    labels = [one.identity for one in people]
    assert (
        found.scored
        == rank(features, features, query_ids=labels, gallery_ids=labels, protocol="random-gallery").queries
    )
