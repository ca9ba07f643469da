"""Nearest neighbours, block by block, against a sorted matrix."""

import numpy as np
import pytest
import torch

from reidtune.retrieval.neighbours import nearest, top


@pytest.mark.parametrize("block", [7, 16, 64, 500])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_lists_are_those_of_a_stable_sort(block, whole, k):
    features = torch.randn(150, 6, generator=torch.Generator().manual_seed(k))
    if whole:
        features = features.round().clamp(-1, 1)  # full of ties, in exact numbers
    found = nearest(features, k, block=block)
    scores = features @ features.T
    np.testing.assert_allclose(found.lowest, scores.min(1).values, atol=1e-5)
    scores.fill_diagonal_(torch.inf)
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    np.testing.assert_array_equal(found.index, order)


def test_euclidean_distances():
    features = 3 * torch.randn(90, 5, generator=torch.Generator().manual_seed(1))
    found = nearest(features, 8, squares=features.square().sum(1), block=32)
    distances = torch.cdist(features.double(), features.double()).square()
    np.testing.assert_allclose(-found.lowest, distances.max(1).values, rtol=1e-5)
    np.testing.assert_array_equal(found.index, distances.argsort(dim=1)[:, :8])


def test_more_neighbours_than_samples():
    found = nearest(torch.eye(4), 9, block=2)
    assert found.index.tolist() == [[0, 1, 2, 3], [1, 0, 2, 3], [2, 0, 1, 3], [3, 0, 1, 2]]


def test_equal_samples_come_in_order_after_the_sample_itself():
    found = nearest(torch.ones(50, 3), 4, block=8)
    assert found.index[0].tolist() == [0, 1, 2, 3]
    assert found.index[30].tolist() == [30, 0, 1, 2]


def test_top_of_rows_with_too_few_numbers():
    scores = np.array([[0.0, 2.0, 2.0, 1.0], [-np.inf, 3.0, -np.inf, -np.inf]], np.float32)
    index, score = top(scores, 3)
    assert index.tolist() == [[1, 2, 3], [1, -1, -1]]
    assert score.tolist() == [[2.0, 2.0, 1.0], [3.0, -np.inf, -np.inf]]
