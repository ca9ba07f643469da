"""Samples of which some lack a modality are compared by what both have."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from reidtune.data.record import ImageFile, Record
from reidtune.errors import SettingsError
from reidtune.retrieval.rank import rank
from reidtune.retrieval.scoring import best_matches
from reidtune.retrieval.shared import SharedGallery, anything_missing


def samples(present, seed, width=4):
    """Features of three modalities and what is there of them, one modality stronger than the others."""
    features = torch.randn(len(present), 3, width, generator=torch.Generator().manual_seed(seed))
    features *= torch.tensor([5.0, 1.0, 0.3])[:, None]
    return features * torch.tensor(present)[..., None]


QUERY = [[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 1]]
GALLERY = [[1, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]


def expected(query, gallery):
    """Pair by pair, from the definition."""
    query, gallery = F.normalize(query, dim=2), F.normalize(gallery, dim=2)
    means = [torch.stack([one[m] for one in gallery if one[m].any()]).mean(0) for m in range(3)]
    scores = torch.zeros(len(query), len(gallery))
    for row, one in enumerate(query):
        its = [m for m in range(3) if one[m].any()]
        for column, other in enumerate(gallery):
            there = [m for m in range(3) if other[m].any()]
            cosines = [one[m] @ (other[m] if m in there else means[m]) for m in its]
            scores[row, column] = sum(cosines) / len(its)
            if not set(its) & set(there):
                mine = sum(one[m] - means[m] for m in its) / len(its)
                scores[row, column] += mine @ (sum(other[m] - means[m] for m in there) / len(there))
    return scores


def test_scores_are_those_of_the_definition():
    query, gallery = samples(QUERY, 1), samples(GALLERY, 2)
    found = SharedGallery(gallery.flatten(1), 3).scores(query.flatten(1))
    assert torch.allclose(found, expected(query, gallery), atol=1e-6)


def test_lengths_of_the_features_do_not_matter():
    query, gallery = samples(QUERY, 1), samples(GALLERY, 2)
    found = SharedGallery(F.normalize(gallery.flatten(1)), 3).scores(7 * query.flatten(1))
    assert torch.allclose(found, expected(query, gallery), atol=1e-6)


def test_with_the_same_missing_everywhere_it_is_the_mean_cosine_of_the_rest():
    query, gallery = samples([[1, 0, 1]] * 4, 1), samples([[1, 1, 1]] * 5, 2)
    found = SharedGallery(gallery.flatten(1), 3).scores(query.flatten(1))
    plain = [F.normalize(query[:, m]) @ F.normalize(gallery[:, m]).T for m in (0, 2)]
    assert torch.allclose(found, sum(plain) / 2, atol=1e-6)


def test_a_sample_does_not_win_by_what_it_lacks():
    """Thermal images are alike (cosines near 1), visible ones are not; thermal alone must not come first."""
    generator = torch.Generator().manual_seed(3)
    visible = F.normalize(torch.randn(6, 8, generator=generator), dim=1)
    thermal = F.normalize(torch.ones(6, 8) + 0.1 * torch.randn(6, 8, generator=generator), dim=1)
    query = torch.stack([visible + 0.2 * torch.randn(6, 8, generator=generator), thermal], dim=1).flatten(1)
    gallery = torch.stack([visible, thermal], dim=1)
    gallery[0, 0] = 0
    first = SharedGallery(gallery.flatten(1), 2).scores(query).argmax(1)
    assert first[1:].tolist() == [1, 2, 3, 4, 5]


def test_what_is_missing_is_seen():
    assert anything_missing(samples(QUERY, 1).flatten(1), 3)
    assert not anything_missing(samples([[1, 1, 1]] * 4, 1).flatten(1), 3)
    assert not anything_missing(torch.zeros(2, 4), 1)


def test_ranking_uses_it():
    query, gallery = samples(QUERY, 1), samples(GALLERY, 2)
    ids, items = [1, 2, 3, 4], [1, 2, 3, 4, 1]
    labels = {"query_ids": ids, "gallery_ids": items, "protocol": "all"}
    order = expected(query, gallery).argsort(dim=1, descending=True)
    first = [1 + [items[i] for i in row].index(i) for row, i in zip(order.tolist(), ids, strict=True)]
    for tile in (1, 64):
        result = rank(query.flatten(1), gallery.flatten(1), **labels, pieces=3, tile=tile)
        assert result.first_hit.tolist() == first
    assert rank(query.flatten(1), gallery.flatten(1), **labels).first_hit.tolist() != first
    whole = samples([[1, 1, 1]] * 4, 5).flatten(1), samples([[1, 1, 1]] * 5, 6).flatten(1)
    plain = rank(*whole, **labels)
    assert rank(*whole, **labels, pieces=3).average_precision.tolist() == plain.average_precision.tolist()
    with pytest.raises(SettingsError, match="12 columns are not 5 equal parts"):
        rank(query.flatten(1), gallery.flatten(1), **labels, pieces=5)


def test_a_picture_of_a_list_ranks_as_the_ranking_does_also_with_junk():
    present = [[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1], [0, 0, 1], [1, 1, 1], [1, 0, 0]]
    for seed in range(30):
        query, gallery = samples([[1, 0, 1]], seed).flatten(1), samples(present, 100 + seed).flatten(1)
        identities = [-1, -1, -1, 1, 2, 3, 4, 5]
        records = [Record((ImageFile(Path(f"{n}.png")),), identity) for n, identity in enumerate(identities)]
        (one,) = [Record((ImageFile(Path("q.png")),), 1)]
        best = best_matches(query, gallery, [one], records, "all", 0, 8, pieces=3)
        first = rank(query, gallery, query_ids=[1], gallery_ids=identities, protocol="all", pieces=3).first_hit
        assert [record.identity for record in best].index(1) + 1 == int(first[0])
