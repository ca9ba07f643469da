"""Datasets to metrics. Images are of one colour each and the encoder reads that colour, so rankings are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.record import ImageFile, Record
from reidtune.errors import DataError, SettingsError
from reidtune.fusion import join, present_of
from reidtune.retrieval.embed import embed_both, embed_pairs
from reidtune.retrieval.rank import rank
from reidtune.retrieval.scoring import best_matches, rank_features, scores
from reidtune.retrieval.validate import (
    CARVED_SPLIT,
    OWN_SPLIT,
    rank_records,
    validate,
    validate_text,
    validation_protocol,
)

PREPROCESS = Preprocess(8, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def encode(batch):
    """Mean red and green, [B, 2]: the angle of a feature is the hue."""
    assert batch.images.shape[1:] == (3, 8, 4)
    return batch.images.mean((2, 3))[:, :2]


@pytest.fixture
def person(tmp_path):
    """A record whose feature lies at ``angle`` degrees."""

    def make(identity, angle, camera=None, scene=None):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        red, green = (round(250 * part(math.radians(angle))) for part in (math.cos, math.sin))
        Image.new("RGB", (6, 12), (red, green, 0)).save(path)
        return Record((ImageFile(path),), identity, camera, scene)

    return make


def test_records_are_ranked_by_the_cosine_of_their_features(person):
    query = [person(1, 10, camera=0), person(2, 80, camera=0)]
    gallery = [
        person(1, 10, camera=0),  # same camera as the query: ignored
        person(-1, 10, camera=1),  # junk
        person(0, 25, camera=1),
        person(1, 30, camera=1),
        person(2, 50, camera=1),
    ]
    result = rank_records(encode, PREPROCESS, query, gallery, "cross-camera")
    assert result.first_hit.tolist() == [2, 1]
    assert result.mean_average_precision == pytest.approx((1 / 2 + 1) / 2)
    assert (result.queries, result.gallery, result.ignored) == (2, 4, 1)
    assert result.protocol == "cross-camera"


def test_features_are_unit_rows_in_the_order_of_the_records(person):
    query, gallery = [person(1, 40)], [person(1, 20), person(2, 70)]
    one, other = embed_both(encode, PREPROCESS, query, gallery, batch_size=2)
    angles = torch.rad2deg(torch.atan2(*torch.cat([one, other]).T.flip(0)))
    assert angles.tolist() == pytest.approx([40, 20, 70], abs=0.5)
    assert torch.cat([one, other]).norm(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_a_record_in_query_and_gallery_is_embedded_once(person):
    records = [person(1, 10), person(1, 20), person(2, 60), person(2, 80)]
    seen = []
    one, other = embed_both(encode, PREPROCESS, records[1:], records, batch_size=3, progress=seen.append)
    assert seen == [3, 1]
    assert torch.equal(one, other[1:])


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_do_not_change_the_result(person, batch_size):
    records = [person(identity, 17 * place % 90) for place, identity in enumerate([1, 1, 2, 2, 3, 3, 1])]
    whole = rank_records(encode, PREPROCESS, records, records, "leave-one-out", batch_size=7)
    parts = rank_records(encode, PREPROCESS, records, records, "leave-one-out", batch_size=batch_size)
    assert torch.equal(whole.average_precision, parts.average_precision)


def test_cross_scene_reads_scenes_and_cross_camera_cameras(person):
    query = [person(1, 10, camera=0, scene=5)]
    gallery = [person(1, 10, camera=1, scene=5), person(2, 20, camera=0, scene=5), person(1, 30, camera=0, scene=6)]
    first = {
        name: rank_records(encode, PREPROCESS, query, gallery, name).first_hit.item()
        for name in ("cross-camera", "cross-scene", "all")
    }
    assert first == {"cross-camera": 1, "cross-scene": 2, "all": 1}


def test_one_unknown_camera_is_said_and_nothing_is_guessed(person):
    query, gallery = [person(1, 10, camera=0)], [person(1, 20, camera=1), person(2, 30)]
    with pytest.raises(SettingsError, match="cross-camera needs cameras") as caught:
        rank_records(encode, PREPROCESS, query, gallery, "cross-camera")
    assert caught.value.exit_code == 2
    assert rank_records(encode, PREPROCESS, query, gallery, "all").cmc(1) == 1


def test_an_image_that_is_gone_is_named(person):
    records = [person(1, 10), person(1, 20)]
    records[1].path.unlink()
    with pytest.raises(DataError, match=records[1].path.name):
        rank_records(encode, PREPROCESS, records, records, "leave-one-out")


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


@pytest.mark.parametrize(
    ("places", "protocol", "expected"),
    [
        ([(0, 0), (1, 0)], "cross-camera", "cross-camera"),
        ([(0, 0), (None, 0)], "cross-camera", "leave-one-out"),
        ([(0, 0), (1, 0), (None, 0)], "cross-camera", "leave-one-out"),
        ([(3, 0), (3, 0)], "cross-camera", "leave-one-out"),  # one camera would leave no positive
        ([(0, 0), (0, 1)], "cross-scene", "cross-scene"),
        ([(0, 0), (1, None)], "cross-scene", "leave-one-out"),
        ([(0, 0), (1, 0)], "all", "leave-one-out"),  # the image itself would always be first
        ([(None, None)], "leave-one-out", "leave-one-out"),
        ([(None, None)], "random-gallery", "random-gallery"),
    ],
)
def test_validation_protocol(person, places, protocol, expected):
    assert validation_protocol([person(1, 5, *place) for place in places], protocol) == expected


def test_validation_says_how_it_was_obtained(person):
    records = [person(1, 10), person(2, 15), person(1, 30), person(2, 70), person(3, 89)]
    metrics = validate(encode, PREPROCESS, records, "leave-one-out", batch_size=2)
    assert {name: metrics[name] for name in ("protocol", "queries", "skipped")} == {
        "protocol": "leave-one-out",
        "queries": 5,
        "skipped": 1,
    }
    assert "training identities" in metrics["split"]
    # The positives at ranks 2, 3, 2 and 3 of four others each.
    assert metrics["rank-1"] == 0
    assert metrics["mAP"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 3) / 4)


def test_validation_with_random_galleries_counts_the_queries_of_one(person):
    records = [person(1, 10), person(2, 15), person(1, 30), person(2, 70), person(3, 89)]
    metrics = validate(encode, PREPROCESS, records, "random-gallery", batch_size=2)
    assert {name: metrics[name] for name in ("protocol", "queries", "skipped", "draws")} == {
        "protocol": "random-gallery",
        "queries": 2,
        "skipped": 0,
        "draws": 10,
    }
    assert set(metrics["deviation"]) >= {"rank-1", "mAP"}


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


def tokenize(captions):
    """A caption is a number of degrees; ids [B, 1]."""
    return torch.tensor([[int(caption)] for caption in captions])


def encode_texts(ids):
    angles = torch.deg2rad(ids[:, 0].float())
    return 3 * torch.stack([angles.cos(), angles.sin()], 1)


TEXTS = (encode_texts, tokenize)


def with_captions(record, *captions):
    return replace(record, captions=captions)


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


def test_validation_of_text_is_text_to_image_and_says_how_it_was_obtained(person):
    records = [
        with_captions(person(1, 10), "12", "60"),
        with_captions(person(2, 50), "48"),
        with_captions(person(-1, 30), "31"),
    ]
    seen = []
    metrics = validate_text(encode, *TEXTS, PREPROCESS, records, batch_size=2, progress=seen.append)
    assert {name: metrics[name] for name in ("protocol", "queries", "skipped", "split")} == {
        "protocol": "cross-modality",
        "queries": 4,
        "skipped": 1,  # the caption of junk has no positive; a public evaluator fails here
        "split": CARVED_SPLIT,
    }
    assert metrics["rank-1"] == pytest.approx(2 / 3)
    assert metrics["mAP"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert seen == [2, 1, 2, 2]
    assert validate_text(encode, *TEXTS, PREPROCESS, records, split=OWN_SPLIT)["split"] == OWN_SPLIT
    assert metrics.keys() == validate(encode, PREPROCESS, records[:1] * 2, "all").keys()


def joined(batch):
    """Hues of two modalities, joined, [B, 4]."""
    return join(batch.images.mean((3, 4))[:, :, :2], present_of(batch))


@pytest.fixture
def sample(person):
    """A record whose modalities lie at the given angles."""

    def make(identity, **angles):
        images = tuple(person(identity, angle).images[0] for angle in angles.values())
        return Record(images, identity, modalities=tuple(angles))

    return make


def test_validation_of_samples_compares_what_both_have(sample):
    records = [sample(1, rgb=10, tir=10), sample(1, tir=8), sample(2, rgb=45, tir=45), sample(2, rgb=50)]
    metrics = validate(joined, PREPROCESS, records, "leave-one-out", modalities=("rgb", "tir"))
    # The first and the second are 2° apart in tir, the third and the fourth 5° in rgb, all others 35° or more.
    assert metrics["rank-1"] == metrics["mAP"] == 1
    ids = [record.identity for record in records]
    features = embed_both(joined, PREPROCESS, records, records, modalities=("rgb", "tir"))
    whole = rank(*features, query_ids=ids, gallery_ids=ids, protocol="leave-one-out")
    assert whole.cmc(1) < 1  # with zeros as features the third would be nearer to the first than the second is


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
