"""Cases and references of the tests of rankings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from reidtune.retrieval.rank import RankResult


def on_a_line(places: list[float]) -> Tensor:
    """Features whose Euclidean distances from 0 are the places."""
    return torch.tensor([[place] for place in places])


def brute_force(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, protocol):
    """(AP, INP, rank of the first positive) of every query by plain loops over integer features; None where skipped."""
    results = []
    for q, feature in enumerate(query):
        distances = []
        for g, item in enumerate(gallery):
            if gallery_ids[g] == -1:
                continue
            same = gallery_ids[g] == query_ids[q]
            if protocol in ("cross-camera", "cross-scene") and same and gallery_cameras[g] == query_cameras[q]:
                continue
            if protocol == "leave-one-out" and g == q:
                continue
            distances.append((sum((a - b) ** 2 for a, b in zip(feature, item, strict=True)), g, same))
        hits = [place for place, (_, _, same) in enumerate(sorted(distances), 1) if same]
        if hits:
            precisions = [number / place for number, place in enumerate(hits, 1)]
            results.append((math.fsum(precisions) / len(hits), len(hits) / hits[-1], hits[0]))
        else:
            results.append(None)
    return results


def check_equal(result: RankResult, expected: list[tuple[float, float, int] | None]) -> None:
    assert result.skipped_queries == tuple(index for index, one in enumerate(expected) if one is None)
    for index, one in enumerate(expected):
        if one is None:
            assert math.isnan(result.average_precision[index])
            assert math.isnan(result.inverse_negative_penalty[index])
            assert result.first_hit[index] == 0
        else:
            assert result.average_precision[index].item() == pytest.approx(one[0], abs=1e-12)
            assert result.inverse_negative_penalty[index].item() == pytest.approx(one[1], abs=1e-12)
            assert result.first_hit[index] == one[2]
    scored = [one for one in expected if one is not None]
    assert result.mean_average_precision == pytest.approx(sum(one[0] for one in scored) / len(scored), abs=1e-12)
    assert result.mean_inverse_negative_penalty == pytest.approx(sum(one[1] for one in scored) / len(scored), abs=1e-12)
    for k in (1, 2, 5, 100):
        assert result.cmc(k) == pytest.approx(sum(one[2] <= k for one in scored) / len(scored), abs=1e-12)


def random_case(seed: int = 0, queries: int = 60, items: int = 300, width: int = 8):
    generator = torch.Generator().manual_seed(seed)
    labels = {
        "query_ids": torch.randint(1, 12, (queries,), generator=generator),
        "gallery_ids": torch.randint(-1, 12, (items,), generator=generator),
        "query_cameras": torch.randint(0, 4, (queries,), generator=generator),
        "gallery_cameras": torch.randint(0, 4, (items,), generator=generator),
    }
    return (
        torch.randn(queries, width, generator=generator),
        torch.randn(items, width, generator=generator),
        labels,
    )


def expected_order(query, gallery, weights=None):
    """Indices of the gallery for every query by squared distance in float64, stable: [Q, G]."""
    query, gallery = (np.asarray(side, np.float64) for side in (query, gallery))
    distances = (query**2).sum(1)[:, None] + (gallery**2).sum(1)[None] - 2 * query @ gallery.T
    return np.argsort(distances, axis=1, kind="stable")


def by_sorting(query, gallery, labels, protocol):
    """(AP, INP, rank of the first positive) of every query, NaN and 0 where skipped, from whole sorted lists."""
    ids, cameras = (np.asarray(labels[f"gallery_{name}"]) for name in ("ids", "cameras"))
    found = []
    for row, order in enumerate(expected_order(query, gallery)):
        kept = ids[order] != -1
        same = ids[order] == int(labels["query_ids"][row])
        if protocol in ("cross-camera", "cross-scene"):
            kept &= ~(same & (cameras[order] == int(labels["query_cameras"][row])))
        if protocol == "leave-one-out":
            kept &= order != row
        ranks = np.flatnonzero(same[kept]) + 1
        number = len(ranks)
        precision = (np.arange(1, number + 1) / ranks).sum() / number if number else math.nan
        found.append((precision, number / ranks[-1] if number else math.nan, ranks[0] if number else 0))
    return tuple(np.array(column) for column in zip(*found, strict=True))


def same_bits(one: RankResult, other: RankResult) -> bool:
    """Whether two results agree in every query to the bit."""
    pairs = [(one, other)]
    assert (one.best is None) == (other.best is None)
    if one.best is not None and other.best is not None and one.worst is not None and other.worst is not None:
        pairs += [(one.best, other.best), (one.worst, other.worst)]
    counts = [(r.skipped_queries, r.tied_queries, r.near_ties, r.queries, r.gallery, r.ignored) for r in (one, other)]
    return counts[0] == counts[1] and all(
        torch.equal(getattr(a, name).nan_to_num(-1), getattr(b, name).nan_to_num(-1))
        for a, b in pairs
        for name in ("average_precision", "inverse_negative_penalty", "first_hit")
    )
