"""Re-ranking against the dense formulas; tests/golden/rerank.json explains the reference numbers."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from reidtune.errors import DataError, SettingsError
from reidtune.retrieval.pairs import make_pairs
from reidtune.retrieval.rank import rank
from reidtune.retrieval.rerank import Reranker, RerankSettings, rerank, reranker_of

GOLDEN = Path(__file__).parents[1] / "golden"
KEYS = (("id", "pids"), ("camera", "cams"))
CASES = {"original_20_6_03": (20, 6, 0.3), "original_7_3_05": (7, 3, 0.5), "original_5_1_03": (5, 1, 0.3)}


@pytest.fixture(scope="module")
def reference():
    return load_file(GOLDEN / "rerank.safetensors"), json.loads((GOLDEN / "rerank.json").read_text())["results"]


def labels(tensors, case):
    return {f"{side}_{name}s": tensors[f"{case}.{side}_{key}"] for side in ("query", "gallery") for name, key in KEYS}


@pytest.mark.parametrize("case", CASES)
def test_distances_are_those_of_the_public_code(reference, case):
    tensors, _ = reference
    k1, k2, weight = CASES[case]
    stack = F.normalize(torch.cat([tensors[f"rerank.{side}_features"] for side in ("query", "gallery")]))
    reranker = Reranker(stack, np.arange(60), np.arange(60, 300), RerankSettings(k1, k2, weight))
    distances = torch.cat([1 - weight - scores for _, scores in reranker.tiles()])
    torch.testing.assert_close(distances, tensors[f"rerank.dist.{case}"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("case", [*CASES, "original_50_15_03"])
def test_metrics_are_those_of_the_public_code(reference, case):
    tensors, results = reference
    k1, k2, weight = CASES.get(case, (50, 15, 0.3))
    features = (tensors["rerank.query_features"], tensors["rerank.gallery_features"])
    result = rerank(*features, **labels(tensors, "rerank"), k1=k1, k2=k2, weight=weight)
    assert result.mean_average_precision == pytest.approx(results[case]["mAP"], abs=1e-4)
    assert result.mean_inverse_negative_penalty == pytest.approx(results[case]["mINP"], abs=1e-4)
    for k in (1, 5, 10, 20):
        assert result.cmc(k) == pytest.approx(results[case][f"cmc@{k}"], abs=1e-6)


def test_market_rule_with_junk_and_distractors(reference):
    tensors = load_file(GOLDEN / "evaluation.safetensors")
    expected = reference[1]["market_case_of_evaluation.safetensors_normalised_junk_removed"]["original_20_6_03"]
    features = (tensors["market.query_features"], tensors["market.gallery_features"])
    result = rerank(*features, **labels(tensors, "market"))
    assert result.mean_average_precision == pytest.approx(expected["mAP"], abs=1e-4)
    assert result.cmc(1) == pytest.approx(expected["cmc@1"], abs=1e-6)
    assert (result.queries, result.gallery, result.ignored) == (300, 1880, 120)
    plain = rank(*features, **labels(tensors, "market"))
    assert result.skipped_queries == plain.skipped_queries


def direct(stack, squares, k1, k2, weight):
    """The dense algorithm with sets, in double precision: distances [N, N]."""
    product = (stack @ stack.T).double()
    distance = 2 - 2 * product if squares is None else squares[:, None] + squares[None, :] - 2 * product
    distance = distance.clamp(min=0)
    distance = distance / distance.max(1, keepdim=True).values
    count = len(stack)
    ordered = [sorted(range(count), key=lambda j, i=i: (j != i, float(distance[i, j]), j)) for i in range(count)]
    codes = torch.zeros(count, count, dtype=torch.float64)

    def mutual(i, k):
        return {j for j in ordered[i][: k + 1] if i in ordered[j][: k + 1]}

    for i in range(count):
        own = mutual(i, k1)
        members = set(own)
        for candidate in own:
            theirs = mutual(candidate, round(k1 / 2))
            if 3 * len(theirs & own) > 2 * len(theirs):
                members |= theirs
        chosen = sorted(members)
        codes[i, chosen] = (-distance[i, chosen]).softmax(0)
    codes = torch.stack([codes[ordered[i][:k2]].mean(0) for i in range(count)])
    shared = torch.minimum(codes[:, None, :], codes[None, :, :]).sum(2)
    return (1 - weight) * (1 - shared / (2 - shared)) + weight * distance


@pytest.mark.parametrize("settings", [(4, 2, 0.3), (7, 9, 0.0), (60, 3, 0.5), (1, 1, 0.8)])
@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_small_sets_against_the_formulas(settings, similarity, monkeypatch):
    random = torch.Generator().manual_seed(3)
    query, gallery = (torch.randn(count, 4, generator=random) for count in (9, 31))
    pairs = make_pairs(query, gallery, query_ids=range(9), gallery_ids=range(31), protocol="all", similarity=similarity)
    stack = torch.cat([pairs.query, pairs.gallery])
    squares = None if similarity == "cosine" else stack.square().sum(1)
    expected = direct(stack, squares, *settings)[:9, 9:]
    for entries in (2**21, 40):  # one tile, and tiles of a query whose pairs do not fit at once
        monkeypatch.setattr("reidtune.retrieval.rerank._ENTRIES", entries)
        monkeypatch.setattr("reidtune.retrieval.rerank._ROWS", 7)
        tiles = [scores for _, scores in reranker_of(pairs, RerankSettings(*settings)).tiles()]
        assert len(tiles) == (1 if entries > 1000 else 9)
        found = 1 - settings[2] - torch.cat(tiles)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6)


def test_weight_one_is_the_original_ranking():
    random = torch.Generator().manual_seed(4)
    features = torch.randn(20, 5, generator=random), torch.randn(60, 5, generator=random)
    ids = {"query_ids": [n % 6 for n in range(20)], "gallery_ids": [n % 6 for n in range(60)], "protocol": "all"}
    torch.testing.assert_close(
        rerank(*features, **ids, weight=1.0).average_precision, rank(*features, **ids).average_precision
    )


def test_under_leave_one_out_a_sample_stands_in_the_set_once():
    features = torch.randn(30, 5, generator=torch.Generator().manual_seed(5))
    ids = [n % 5 for n in range(30)]
    result = rerank(features, features, query_ids=ids, gallery_ids=ids, protocol="leave-one-out", k1=6, k2=2)
    stack = F.normalize(features)
    distances = direct(stack, None, 6, 2, 0.3)
    distances.fill_diagonal_(torch.inf)
    precision = []
    for row in range(30):
        order = distances[row].argsort(stable=True).tolist()[:29]
        ranks = [place for place, item in enumerate(order, 1) if ids[item] == ids[row]]
        precision.append(np.mean([number / place for number, place in enumerate(ranks, 1)]))
    assert result.mean_average_precision == pytest.approx(np.mean(precision), abs=1e-6)
    half = rerank(
        features[::2],
        features,
        query_ids=ids[::2],
        gallery_ids=ids,
        query_rows=range(0, 30, 2),
        gallery_rows=range(30),
        protocol="leave-one-out",
        k1=6,
        k2=2,
    )
    torch.testing.assert_close(half.average_precision, result.average_precision[::2])


def test_large_k1_needs_little_memory():
    """Numbers that are those of the formulas, without all members of all lists against each other."""
    features = torch.randn(300, 4, generator=torch.Generator().manual_seed(7))
    pairs = make_pairs(features[:20], features[20:], query_ids=[0] * 20, gallery_ids=[0] * 280, protocol="all")
    tracemalloc.start()
    reranker = reranker_of(pairs, RerankSettings(k1=120, k2=2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6
    expected = direct(torch.cat([pairs.query, pairs.gallery]), None, 120, 2, 0.3)[:20, 20:]
    found = 0.7 - reranker.scores(slice(0, 20))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6)


def test_equal_features_give_numbers():
    ids = [0, 1] * 10
    result = rerank(torch.ones(20, 3), torch.ones(20, 3), query_ids=ids, gallery_ids=ids, protocol="all", k1=3)
    assert result.average_precision.isfinite().all()
    assert result.tied_queries == tuple(range(20))
    assert (result.best.cmc(1), result.worst.cmc(10)) == (1, 0)


def test_missing_modalities_take_the_mean_of_the_gallery():
    random = torch.Generator().manual_seed(6)
    query, gallery = torch.randn(8, 6, generator=random), torch.randn(40, 6, generator=random)
    query[::2, :3] = 0
    gallery[::3, 3:] = 0
    pairs = make_pairs(query, gallery, query_ids=[0] * 8, gallery_ids=[0] * 40, protocol="all", pieces=2)
    parts = F.normalize(gallery.reshape(40, 2, 3), dim=2)
    means = parts.sum(0) / parts.any(2).sum(0)[:, None]
    whole = pairs.complete()
    torch.testing.assert_close(whole.query[0, :3] / whole.query[0, 3:].norm(), means[0])
    assert whole.gallery.reshape(40, 2, 3).any(2).all()
    scores = torch.cat([tile for _, tile in reranker_of(pairs, RerankSettings(k1=5)).tiles()])
    expected = direct(torch.cat([whole.query, whole.gallery]), None, 5, 6, 0.3)[:8, 8:]
    torch.testing.assert_close((0.7 - scores).double(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("wrong", [{"k1": 0}, {"k2": 0}, {"weight": 1.5}, {"weight": float("nan")}])
def test_settings_out_of_range(wrong):
    with pytest.raises(SettingsError):
        rerank(torch.eye(3), torch.eye(3), query_ids=[0, 1, 2], gallery_ids=[0, 1, 2], protocol="all", **wrong)


def test_no_positive_is_said():
    with pytest.raises(DataError, match="do not occur in the gallery"):
        rerank(torch.eye(3), torch.eye(3), query_ids=[0, 1, 2], gallery_ids=[3, 4, 5], protocol="all")
