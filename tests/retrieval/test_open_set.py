"""Open-set identification against a count query by query."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reidtune.retrieval.decisions import decide
from reidtune.retrieval.pairs import make_pairs


def world(people, in_gallery, queries=60, gallery=100, seed=0):
    random = torch.Generator().manual_seed(seed)
    ids = (
        torch.randint(0, people, (queries,), generator=random),
        torch.randint(0, in_gallery, (gallery,), generator=random),
    )
    centres = torch.randn(max(people, in_gallery), 5, generator=random)
    features = [centres[one] + 0.8 * torch.randn(len(one), 5, generator=random) for one in ids]
    return make_pairs(*features, query_ids=ids[0], gallery_ids=ids[1], protocol="all")


def count(pairs, gone, far):
    """Detection and identification rate, with these identities out of the gallery."""
    kept = [place for place, identity in enumerate(pairs.gallery_ids.tolist()) if identity not in gone]
    there = {pairs.gallery_ids[place].item() for place in kept}
    alarms, known, hits = [], 0, []
    for query, identity in zip(pairs.query, pairs.query_ids.tolist(), strict=True):
        scores = pairs.gallery[kept] @ query
        if identity not in there:
            alarms.append(scores.max().item())
            continue
        known += 1
        if pairs.gallery_ids[kept[int(scores.argmax())]] == identity:
            hits.append(scores.max().item())
    limit = sorted(alarms, reverse=True)[int(far * len(alarms))]  # so many may be higher
    return len(hits) / known, sum(hit > limit + 1e-6 for hit in hits) / known, known, len(alarms)


def test_queries_without_a_positive_are_unknown():
    pairs = world(people=10, in_gallery=6)
    found = decide(pairs, draws=2).open_set
    rank_1, rate, known, unknown = count(pairs, set(), 0.1)
    assert (found.held_out, found.known, found.unknown) == (0, known, unknown)
    assert found.rank_1 == pytest.approx(rank_1)
    assert found.rates[1][1] == pytest.approx(rate)
    assert found.rates[0] == (0.01, None, None)  # too few unknown queries for one in a hundred


@pytest.mark.parametrize("seed", [0, 7])
def test_a_fifth_of_the_identities_is_held_out_where_all_are_known(seed):
    pairs = world(people=10, in_gallery=10, queries=120)
    found = decide(pairs, draws=2, seed=seed).open_set
    identities = pairs.query_ids.unique()
    gone = set(identities[np.random.default_rng(seed).permutation(len(identities))[:2]].tolist())
    rank_1, rate, known, unknown = count(pairs, gone, 0.1)
    assert (found.held_out, found.known, found.unknown, found.seed) == (2, known, unknown, seed)
    assert (found.rank_1, found.rates[1][1]) == pytest.approx((rank_1, rate))
    assert found.to_json()["held_out_identities"] == 2


def test_a_positive_that_is_ignored_makes_nobody_known():
    """Queries of identity 0 have positives of their own camera alone."""
    ids, cameras = [0] * 10 + [1] * 10, [0] * 10 + [1] * 10
    gallery_ids, gallery_cameras = [0] * 10 + [1] * 10, [0] * 20
    features = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    pairs = make_pairs(
        features[:20],
        features[20:],
        query_ids=ids,
        gallery_ids=gallery_ids,
        query_cameras=cameras,
        gallery_cameras=gallery_cameras,
    )
    found = decide(pairs, fpr=0.1, draws=2).open_set
    assert (found.known, found.unknown, found.held_out) == (10, 10, 0)


def test_one_known_identity_cannot_be_made_unknown():
    pairs = world(people=1, in_gallery=2)
    assert decide(pairs, fpr=0.1, draws=2).open_set is None
