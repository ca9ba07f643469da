"""Intervals against drawing queries one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reidtune
from reidtune.errors import SettingsError
from reidtune.retrieval.bootstrap import confidence_intervals, threshold_interval


def ranked(people=12, queries=50):
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(0, people + 1, (queries,), generator=random)  # the last has no positive
    gallery_ids = torch.randint(0, people, (80,), generator=random)
    features = [
        torch.nn.functional.one_hot(one, people + 1) + 0.7 * torch.randn(len(one), people + 1, generator=random)
        for one in (ids, gallery_ids)
    ]
    return reidtune.rank(*features, query_ids=ids, gallery_ids=gallery_ids, protocol="all"), ids


def test_bounds_are_percentiles_of_drawn_identities():
    result, ids = ranked()
    found = confidence_intervals(result, ids, draws=250, seed=4)
    scored = sorted(set(ids.tolist()) - {12})
    assert found.identities == len(scored)
    random = np.random.default_rng(4)
    drawn = np.concatenate(
        [random.multinomial(len(scored), [1 / len(scored)] * len(scored), n) for n in (100, 100, 50)]
    )
    means = {"rank-1": [], "mAP": []}
    for times in drawn:
        rows = [row for i, one in zip(scored, times, strict=True) for row in (ids == i).nonzero()[:, 0].tolist() * one]
        means["mAP"].append(result.average_precision[rows].mean().item())
        means["rank-1"].append((result.first_hit[rows] == 1).double().mean().item())
    for name, values in means.items():
        assert found.bounds[name] == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))
        assert found.bounds[name][0] < result.metrics()[name] < found.bounds[name][1]
    assert set(found.bounds) == set(result.metrics())


def test_the_seed_decides():
    result, ids = ranked()
    one, other = (confidence_intervals(result, ids, draws=50, seed=seed) for seed in (0, 1))
    assert one.bounds != other.bounds
    assert one == confidence_intervals(result, ids.tolist(), draws=50)
    assert one.to_json()["over"] == "query identities"


def test_one_identity_has_no_interval():
    features = torch.eye(4)
    result = reidtune.rank(features, features, query_ids=[3] * 4, gallery_ids=[3] * 4, protocol="leave-one-out")
    found = confidence_intervals(result, [3] * 4)
    assert (found.identities, set(found.bounds.values())) == (1, {None})
    assert found.to_json()["bounds"]["mAP"] is None


def edges(cell):
    return cell


@pytest.mark.parametrize("silent", [0, 1, 5])
def test_thresholds_of_drawn_identities_of_which_some_have_no_values(silent, recwarn):
    """Draws without any value say nothing about the threshold."""
    random = np.random.default_rng(silent)
    histograms = torch.from_numpy(random.integers(0, 5, (2 + silent, 8))).float()
    histograms[2:] = 0
    found = threshold_interval(histograms, 0.3, edges, 200, 1)
    cells = []
    again = np.random.default_rng(1)
    for _ in range(2):
        for drawn in again.multinomial(2 + silent, np.full(2 + silent, 1 / (2 + silent)), size=100):
            pooled = drawn @ histograms.double().numpy()
            if pooled.sum():
                reached = [pooled[cell:].sum() for cell in range(8)]
                allowed = 0.3 * pooled.sum()
                cell = max(place for place in range(8) if reached[place] > allowed)
                cells.append(cell + min(1, (reached[cell] - allowed) / pooled[cell]))
    assert (len(cells) < 200) == (silent > 0)
    assert found == pytest.approx(tuple(np.percentile(cells, [2.5, 97.5])))
    histograms[1] = 0
    assert threshold_interval(histograms, 0.3, edges, 200, 1) is None
    assert not recwarn.list


def test_means_over_random_galleries_have_none():
    ids = torch.tensor([1, 1, 2, 2, 3, 3])
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    result = reidtune.rank(features, features, query_ids=ids, gallery_ids=ids, protocol="random-gallery")
    with pytest.raises(SettingsError, match="random galleries have no intervals"):
        confidence_intervals(result, ids)


def test_wrong_arguments():
    result, ids = ranked()
    for wrong in ({"query_ids": ids[:-1]}, {"query_ids": ids, "draws": 0}):
        with pytest.raises(SettingsError):
            confidence_intervals(result, **wrong)
