"""Features to rankings of records. Images are of one colour each and the encoder reads that colour, so rankings are
known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reidtune.retrieval.embed import embed_both, embed_pairs
from reidtune.retrieval.rank import rank
from reidtune.retrieval.scoring import best_matches, rank_features, scores
from tests.retrieval.colours import PREPROCESS, TEXTS, encode, joined, with_captions


def test_rank_features_is_rank_with_the_labels_of_the_records(person):
    query = [person(1, 10, camera=0, scene=0), person(2, 80, camera=1, scene=0)]
    gallery = [person(2, 15, camera=1, scene=1), person(1, 40, camera=1, scene=0), person(2, 60, camera=0, scene=1)]
    features = embed_both(encode, PREPROCESS, query, gallery)
    result = rank_features(*features, query, gallery, "cross-camera")
    expected = rank(
        *features,
        query_ids=[1, 2],
        gallery_ids=[2, 1, 2],
        query_cameras=[0, 1],
        gallery_cameras=[1, 1, 0],
    )
    assert torch.equal(result.average_precision, expected.average_precision)
    assert result.average_precision.tolist() == [0.5, 1.0]


def test_best_matches_agree_with_the_ranking(person):
    query = [person(9, 50, camera=1), person(1, 10, camera=0)]
    gallery = [
        person(2, 60, camera=0),
        person(1, 10, camera=0),  # ignored
        person(-1, 11, camera=1),  # junk
        person(3, 20, camera=0),
        person(1, 40, camera=1),
        person(4, 20, camera=2),  # as near as the 3: gallery order decides
    ]
    features = embed_both(encode, PREPROCESS, query, gallery)

    def best(protocol, count=10):
        return [gallery.index(one) for one in best_matches(*features, query, gallery, protocol, 1, count)]

    assert best("cross-camera") == [3, 5, 4, 0]
    assert best("cross-camera", 2) == [3, 5]
    assert best("all") == [1, 3, 5, 4, 0]
    result = rank_features(*features, query, gallery, "cross-camera")
    identities = [gallery[index].identity for index in best("cross-camera")]
    assert result.first_hit[1] == identities.index(1) + 1


def test_near_ties_are_counted_where_there_are_some(person):
    query, gallery = [person(1, 10)], [person(1, 40), person(2, 60)]
    for apart, expected in ((1e-7, 1), (1e-3, None)):
        features = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.6 - apart, 0.8]])
        found = scores(rank_features(*features, query, gallery, "all"))
        assert found.get("near_ties") == expected


def test_rows_of_junk_that_are_zeros_do_not_make_modalities_missing(person):
    """Features after an expansion have no junk; the list is that of the plain cosine, not of parts that weigh alike."""
    query, gallery = [person(1, 10)], [person(1, 40), person(2, 60), person(-1, 70)]
    features = (
        torch.tensor([[0.9, 0.1, 0.1, 0.0]]),
        torch.tensor([[0.9, 0.1, -0.1, 0.0], [0.5, 0.5, 0.1, 0.0], [0.0] * 4]),
    )
    features = tuple(torch.nn.functional.normalize(one) for one in features)
    best = best_matches(*features, query, gallery, "all", 0, 2, pieces=2)
    assert [record.identity for record in best] == [1, 2]
    whole = [one.view(-1, 2, 2) for one in features]
    parts = [torch.nn.functional.normalize(one, dim=2).flatten(1) for one in whole]
    assert (parts[0] @ parts[1].T)[0].argmax() == 1


def test_best_matches_leave_the_query_itself_out(person):
    records = [person(1, 30), person(1, 32), person(2, 31)]
    features = embed_both(encode, PREPROCESS, records, records)
    for row, expected in enumerate(([2, 1], [2, 0], [0, 1])):
        best = best_matches(*features, records, records, "leave-one-out", row, 5)
        assert {records.index(one) for one in best} == set(expected)
        assert records[row] not in best


def test_distractors_of_a_random_gallery_are_in_the_gallery_alone(person):
    """The records of both sides are the same samples, though the sides are not the same list."""
    records = [person(1, 10), person(2, 80), person(1, 11), person(2, 81)]
    nearer = person(0, 12)
    features = embed_both(encode, PREPROCESS, records, [nearer, *records])
    result = rank_features(*features, records, [nearer, *records], "random-gallery")
    assert (result.queries, result.gallery) == (2, 3)
    assert result.metrics()["rank-1"] < 1  # where 10 is the gallery, 12 is nearer to 11
    assert rank_features(*features[:1] * 2, records, records, "random-gallery").metrics()["rank-1"] == 1
    assert scores(result)["draws"] == 10
    assert scores(result)["deviation"] == result.deviation()
    assert "draws" not in scores(rank_features(*features[:1] * 2, records, records, "leave-one-out"))


def test_every_caption_ranks_every_image(person):
    records = [
        with_captions(person(1, 10, camera=0), "12", "60"),
        with_captions(person(2, 50, camera=0), "48"),
        with_captions(person(1, 80, camera=0), "85"),  # cameras do not matter
        person(-1, 12),  # junk, and without a caption
    ]
    captions = [replace(record, captions=(text,)) for record in records for text in record.captions]
    texts, images = embed_pairs(encode, *TEXTS, PREPROCESS, captions, records, batch_size=3)
    assert torch.rad2deg(torch.atan2(*texts.T.flip(0))).tolist() == pytest.approx([12, 60, 48, 85], abs=1e-3)
    assert torch.cat([texts, images]).norm(dim=1).tolist() == pytest.approx([1] * 8)
    forward = rank_features(texts, images, captions, records, "cross-modality")
    assert forward.first_hit.tolist() == [1, 2, 1, 1]  # at 60° the 50 is nearest, then the 80
    assert (forward.queries, forward.gallery, forward.ignored) == (4, 3, 1)
    backward = rank_features(images, texts, records, captions, "cross-modality")
    assert backward.first_hit.tolist() == [1, 1, 1, 0]
    assert (backward.queries, backward.gallery, backward.skipped_queries) == (4, 4, (3,))
    # 10°: 12, 48, 60, 85 of persons 1, 2, 1, 1; 50°: 48 first; 80°: 85, 60, 48, 12.
    expected = [(1 + 2 / 3 + 3 / 4) / 3, 1, (1 + 1 + 3 / 4) / 3]
    assert backward.average_precision[:3].tolist() == pytest.approx(expected)


def test_best_matches_of_samples_agree_with_the_ranking(sample):
    records = [sample(1, rgb=10, tir=10), sample(2, rgb=11, tir=40), sample(1, tir=12), sample(3, rgb=30)]
    features = embed_both(joined, PREPROCESS, records, records, modalities=("rgb", "tir"))
    best = best_matches(*features, records, records, "leave-one-out", 0, 5, pieces=2)
    assert [records.index(one) for one in best] == [2, 3, 1]  # 2° in tir, 20° in rgb, some 21° in both
    rows = ([0], [1, 2, 3])
    same = best_matches(
        features[0][:1], features[1][1:], records[:1], records[1:], "leave-one-out", 0, 5, pieces=2, rows=rows
    )
    assert same == best
    own = best_matches(
        features[0][:1],
        features[1][1:],
        records[:1],
        records[1:],
        "leave-one-out",
        0,
        5,
        pieces=2,
        rows=([2], [1, 2, 3]),
    )
    assert [records.index(one) for one in own] == [3, 1]
