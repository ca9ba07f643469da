"""Decision metrics against their definitions, threshold by threshold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from reidtune.errors import DataError, SettingsError
from reidtune.retrieval import decisions as module
from reidtune.retrieval.decisions import decide, decisions
from reidtune.retrieval.pairs import make_pairs


def world(seed=0, queries=40, gallery=90, people=8, width=6, whole=False):
    """Features and labels; ``whole`` numbers under a Euclidean distance are full of ties."""
    random = torch.Generator().manual_seed(seed)
    counts = ((0, queries), (-1, gallery))
    ids = [torch.randint(lowest, people, (count,), generator=random) for lowest, count in counts]
    centres = torch.randn(people + 1, width, generator=random)
    features = [centres[one] + torch.randn(len(one), width, generator=random) for one in ids]
    if whole:
        features = [one.round().clamp(-1, 1) for one in features]
    cameras = [torch.randint(0, 3, (len(one),), generator=random) for one in ids]
    return features, {
        "query_ids": ids[0],
        "gallery_ids": ids[1],
        "query_cameras": cameras[0],
        "gallery_cameras": cameras[1],
        "similarity": "euclidean" if whole else "cosine",
    }


def brute(pairs):
    """Genuine and impostor scores, one pair after the other."""
    genuine, impostor = [], []
    for tile in pairs.tiles():
        for row, column in itertools.product(*map(range, tile.scores.shape)):
            if tile.dropped is None or not tile.dropped[row, column]:
                (genuine if tile.positive[row, column] else impostor).append(float(tile.scores[row, column]))
    return np.array(genuine), np.array(impostor)


def direct_eer(genuine, impostor):
    """Every distinct score a threshold, from the highest; straight lines between the points."""
    points = [(0.0, 1.0)]
    points += [
        ((impostor >= at).mean(), (genuine < at).mean()) for at in np.unique(np.concatenate([genuine, impostor]))[::-1]
    ]
    for (false, missed), (more, fewer) in itertools.pairwise(points):
        if more >= fewer:
            share = (missed - false) / ((missed - false) + (more - fewer))
            return false + share * (more - false)
    raise AssertionError


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("protocol", ["cross-camera", "all"])
@pytest.mark.parametrize("seed", [0, 1])
def test_rates_are_those_of_the_definition(whole, protocol, seed, monkeypatch):
    features, labels = world(seed, whole=whole)
    pairs = make_pairs(*features, **labels, protocol=protocol)
    genuine, impostor = brute(pairs)
    for cells in (2**20, 64):  # with few cells nearly all impostors share theirs with a genuine pair
        monkeypatch.setattr(module, "_CELLS", cells)
        monkeypatch.setattr(module, "_COARSE", min(cells, 2**12))
        for rate in (0.3, 0.01, 0.002):
            found = decide(pairs, fpr=rate, draws=5)
            assert (found.genuine, found.impostor) == (len(genuine), len(impostor))
            assert found.eer == pytest.approx(direct_eer(genuine, impostor), abs=1e-12)
            ahead = (genuine[:, None] > impostor).mean() + (genuine[:, None] == impostor).mean() / 2
            assert found.auc == pytest.approx(ahead, abs=1e-12)
            thresholds = [*np.unique(np.concatenate([genuine, impostor])), np.inf]
            best = max((genuine >= at).mean() for at in thresholds if (impostor >= at).mean() <= rate)
            point = found.suggested
            assert point.tpr == pytest.approx(best, abs=1e-12)
            assert (genuine >= point.threshold).mean() == pytest.approx(best, abs=1e-12)
            assert (impostor >= point.threshold).mean() <= rate
            width = (max(genuine.max(), impostor.max()) - min(genuine.min(), impostor.min())) / cells
            lowest = min(at for at in thresholds if (impostor >= at).mean() <= rate)
            assert point.threshold <= lowest + 2 * width  # not needlessly high


def test_a_tile_of_one_query_gives_the_same(monkeypatch):
    features, labels = world()
    whole = decisions(*features, **labels, draws=20)
    monkeypatch.setattr("reidtune.retrieval.pairs._ENTRIES", 1)
    single = decisions(*features, **labels, draws=20)
    assert single.to_json()["pairs"] == whole.to_json()["pairs"]
    assert single.auc == pytest.approx(whole.auc, abs=1e-4)  # products of one row round differently


def test_rates_that_cannot_be_measured_are_none():
    features, labels = world()
    found = decisions(*features, **labels, fpr=1e-4, draws=5)
    assert found.impostor < 10_000
    assert found.threshold is None and found.suggested.tpr is None and found.interval is None
    assert [point.tpr is None for point in found.points] == [False, False, True]


def test_a_perfect_and_a_blind_model():
    ids = torch.arange(4).repeat(5)
    eye = torch.eye(4)[ids]
    perfect = decisions(eye, eye, query_ids=ids, gallery_ids=ids, protocol="leave-one-out", fpr=0.01, draws=5)
    assert (perfect.auc, perfect.eer, perfect.suggested.tpr) == (1.0, 0.0, 1.0)
    assert 0 < perfect.threshold <= 1
    same = torch.ones(20, 3)
    blind = decisions(same, same, query_ids=ids, gallery_ids=ids, protocol="leave-one-out", fpr=0.01, draws=5)
    assert (blind.auc, blind.eer, blind.suggested.tpr) == (0.5, 0.5, 0.0)
    assert blind.threshold > 1 - 1e-6  # nothing is accepted


def test_the_interval_is_that_of_thresholds_of_drawn_identities():
    features, labels = world(queries=120, gallery=200, people=20)
    pairs = make_pairs(*features, **labels)
    rate, draws = 0.02, 300
    found = decide(pairs, fpr=rate, draws=draws, seed=3)
    groups, group = pairs.query_ids.unique(return_inverse=True)
    (tile,) = pairs.tiles()
    impostor = [tile.scores[group == place][~tile.positive[group == place]].numpy() for place in range(len(groups))]
    random = np.random.default_rng(3)
    thresholds = []
    for _ in range(0, draws, 100):
        for drawn in random.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=100):
            pooled = np.concatenate([impostor[place] for place, times in enumerate(drawn) for _ in range(times)])
            thresholds.append(np.sort(pooled)[::-1][int(rate * len(pooled))])
    low, high = np.percentile(thresholds, [2.5, 97.5])
    assert found.interval == pytest.approx((low, high), abs=2e-3)
    assert found.interval[0] < found.threshold < found.interval[1]
    assert found.identities == len(groups)


def test_one_query_identity_has_no_interval():
    features, labels = world(people=3)
    labels["query_ids"] = torch.zeros(40, dtype=torch.int64)
    found = decisions(*features, **labels, fpr=0.1, draws=5)
    assert found.threshold is not None and found.interval is None


def test_one_identity_with_impostors_has_no_interval(recwarn):
    """Of queries 1 and 2 against a gallery of 1 alone, all impostors are of 2."""
    features = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    found = decisions(features, features, query_ids=[1, 2] * 5, gallery_ids=[1] * 10, protocol="all", fpr=0.3)
    assert found.threshold is not None and found.interval is None
    assert not recwarn.list


def test_tiny_euclidean_scores_are_told_apart(recwarn):
    """Squared distances that are denormal numbers of fp32."""
    features, labels = world(whole=True)
    small = [one * 1e-21 for one in features]
    pairs = make_pairs(*small, **labels)
    genuine, impostor = brute(pairs)
    assert len(np.unique(genuine)) > 3
    found = decide(pairs, fpr=0.2, draws=20)
    assert found.eer == pytest.approx(direct_eer(genuine, impostor), abs=1e-12)
    assert (impostor >= found.threshold).mean() <= 0.2
    assert genuine.min() <= found.interval[0] <= found.interval[1] <= 0
    assert not recwarn.list


@pytest.mark.parametrize(("ids", "sentence"), [([0, 0, 0], "none is of different"), ([1, 2, 3], "none is of one")])
def test_pairs_of_one_kind_decide_nothing(ids, sentence):
    features = torch.randn(3, 4)
    with pytest.raises(DataError, match=sentence):
        decisions(features, features, query_ids=ids, gallery_ids=ids, protocol="leave-one-out")


def test_settings_out_of_range():
    features, labels = world()
    for wrong in ({"fpr": 0.0}, {"fpr": 1.0}, {"draws": 0}, {"protocol": "every"}, {"similarity": "dot"}):
        with pytest.raises(SettingsError):
            decisions(*features, **(labels | wrong))


def test_missing_modalities_are_scored_as_in_a_ranking():
    features, labels = world()
    features[0][::3, :3] = 0
    features[1][1::4, 3:] = 0
    pairs = make_pairs(*features, **labels, pieces=2)
    genuine, impostor = brute(pairs)
    assert decide(pairs, draws=5).eer == pytest.approx(direct_eer(genuine, impostor), abs=1e-12)
    assert decide(pairs, draws=5).eer != pytest.approx(decisions(*features, **labels, draws=5).eer, abs=1e-6)
