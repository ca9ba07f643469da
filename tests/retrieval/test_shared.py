"""Samples of which some lack a modality are compared by what both have."""

import pytest
import torch
import torch.nn.functional as F

from reidtune.errors import SettingsError
from reidtune.retrieval.rank import rank
from reidtune.retrieval.shared import anything_missing, shared_cosine


def samples(present, seed, width=4):
    """Features of three modalities and what is there of them, one modality stronger than the others."""
    features = torch.randn(len(present), 3, width, generator=torch.Generator().manual_seed(seed))
    features *= torch.tensor([5.0, 1.0, 0.3])[:, None]
    return features * torch.tensor(present)[..., None]


QUERY = [[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 1]]
GALLERY = [[1, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]


def expected(query, gallery):
    """Pair by pair, from the definition."""
    scores = torch.zeros(len(query), len(gallery))
    for row, one in enumerate(query):
        for column, other in enumerate(gallery):
            both = [m for m in range(3) if one[m].any() and other[m].any()]
            pair = (one[both], other[both]) if both else (one.sum(0), other.sum(0))
            scores[row, column] = F.cosine_similarity(pair[0].flatten(), pair[1].flatten(), dim=0)
    return scores


def test_pairs_are_compared_by_what_both_have():
    query, gallery = samples(QUERY, 1), samples(GALLERY, 2)
    found = shared_cosine(query.flatten(1), gallery.flatten(1), 3)
    assert torch.allclose(found, expected(query, gallery), atol=1e-6)
    assert not torch.allclose(found, F.normalize(query.flatten(1)) @ F.normalize(gallery.flatten(1)).T, atol=0.05)


def test_lengths_of_the_features_do_not_matter():
    query, gallery = samples(QUERY, 1), samples(GALLERY, 2)
    scaled = shared_cosine(7 * query.flatten(1), F.normalize(gallery.flatten(1)), 3)
    assert torch.allclose(scaled, expected(query, gallery), atol=1e-6)


def test_with_everything_there_it_is_the_cosine():
    query, gallery = samples([[1, 1, 1]] * 4, 1).flatten(1), samples([[1, 1, 1]] * 5, 2).flatten(1)
    assert torch.allclose(shared_cosine(query, gallery, 3), F.normalize(query) @ F.normalize(gallery).T, atol=1e-6)
    assert not anything_missing(query, 3)
    assert anything_missing(samples(QUERY, 1).flatten(1), 3)
    assert not anything_missing(torch.zeros(2, 4), 1)


def test_ranking_uses_it():
    query, gallery = samples(QUERY, 1), samples(GALLERY, 2)
    ids, items = [1, 2, 3, 4], [1, 2, 3, 4, 1]
    labels = {"query_ids": ids, "gallery_ids": items, "protocol": "all"}
    result = rank(query.flatten(1), gallery.flatten(1), **labels, pieces=3)
    order = expected(query, gallery).argsort(dim=1, descending=True)
    first = [1 + [items[i] for i in row].index(i) for row, i in zip(order.tolist(), ids, strict=True)]
    assert result.first_hit.tolist() == first
    assert rank(query.flatten(1), gallery.flatten(1), **labels).first_hit.tolist() != first
    with pytest.raises(SettingsError, match="12 columns are not 5 equal parts"):
        rank(query.flatten(1), gallery.flatten(1), **labels, pieces=5)
