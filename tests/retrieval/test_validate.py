"""Records to metrics. Images are of one colour each and the encoder reads that colour, so rankings are known."""

from __future__ import annotations

import pytest
import torch

from reidtune.errors import DataError, SettingsError
from reidtune.retrieval.embed import embed_both
from reidtune.retrieval.rank import rank
from reidtune.retrieval.validate import (
    CARVED_SPLIT,
    OWN_SPLIT,
    rank_records,
    validate,
    validate_text,
    validation_protocol,
)
from tests.retrieval.colours import PREPROCESS, TEXTS, encode, joined, with_captions


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


def test_validation_of_samples_compares_what_both_have(sample):
    records = [sample(1, rgb=10, tir=10), sample(1, tir=8), sample(2, rgb=45, tir=45), sample(2, rgb=50)]
    metrics = validate(joined, PREPROCESS, records, "leave-one-out", modalities=("rgb", "tir"))
    # The first and the second are 2° apart in tir, the third and the fourth 5° in rgb, all others 35° or more.
    assert metrics["rank-1"] == metrics["mAP"] == 1
    ids = [record.identity for record in records]
    features = embed_both(joined, PREPROCESS, records, records, modalities=("rgb", "tir"))
    whole = rank(*features, query_ids=ids, gallery_ids=ids, protocol="leave-one-out")
    assert whole.cmc(1) < 1  # with zeros as features the third would be nearer to the first than the second is
