"""Rankings by hand, by brute force, and by their properties. The papers' numbers are in test_rank_golden.py."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from reidtune.errors import SettingsError
from reidtune.retrieval.rank import rank
from tests.retrieval.ranking import brute_force, check_equal, on_a_line, random_case


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("protocol", ["cross-camera", "cross-scene", "all", "leave-one-out"])
def test_equals_brute_force_with_ties_junk_and_distractors(protocol, seed):
    chance = random.Random(seed)
    width, items = chance.randint(1, 3), chance.randint(6, 40)
    queries = items if protocol == "leave-one-out" else chance.randint(1, 15)

    def draw(count, ids):
        features = [[chance.randint(-2, 2) for _ in range(width)] for _ in range(count)]  # ties everywhere, all exact
        return features, [chance.choice(ids) for _ in range(count)], [chance.randint(0, 2) for _ in range(count)]

    query, query_ids, query_cameras = draw(queries, [1, 2, 3, 4, 9])  # nobody else is a 9
    gallery, gallery_ids, gallery_cameras = draw(items, [-1, 0, 0, 1, 2, 3, 4])
    if protocol == "leave-one-out":
        query, query_ids, query_cameras = gallery, gallery_ids, gallery_cameras
    query_ids[0] = gallery_ids[1] = 1  # one query at least can be scored
    query_cameras[0], gallery_cameras[1] = 0, 1
    if protocol == "leave-one-out":
        gallery_ids[2] = 1
    result = rank(
        query,
        gallery,
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
        protocol=protocol,
        similarity="euclidean",
        tile=chance.randint(1, 20),
    )
    check_equal(result, brute_force(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, protocol))
    assert result.queries == len(query)
    assert result.ignored == gallery_ids.count(-1)
    assert result.gallery == len(gallery) - result.ignored


def test_a_ranking_by_hand():
    result = rank(
        on_a_line([0.0]),
        on_a_line([6.0, 3.0, 1.0, 2.0, 4.0, 5.0]),
        query_ids=[1],
        gallery_ids=[1, 2, 1, 1, 2, 2],
        protocol="all",
        similarity="euclidean",
    )
    # By distance the identities are 1 1 2 2 2 1: hits at 1, 2 and 6.
    assert result.average_precision.tolist() == [pytest.approx((1 / 1 + 2 / 2 + 3 / 6) / 3)]
    assert result.mean_inverse_negative_penalty == pytest.approx(3 / 6)
    assert result.first_hit.tolist() == [1]
    assert result.average_precision.dtype == torch.float64


def test_cmc_and_metrics_are_shares_of_the_scored_queries():
    gallery = on_a_line([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    result = rank(
        torch.zeros(4, 1),
        gallery,
        query_ids=[1, 2, 6, 99],
        gallery_ids=[1, 2, 3, 4, 5, 6],
        protocol="all",
        similarity="euclidean",
    )
    assert result.skipped_queries == (3,)
    assert result.first_hit.tolist() == [1, 2, 6, 0]
    metrics = result.metrics()
    assert list(metrics) == ["rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP"]
    assert metrics["rank-1"] == pytest.approx(1 / 3)
    assert metrics["rank-5"] == pytest.approx(2 / 3)
    assert metrics["rank-10"] == metrics["rank-20"] == 1
    assert metrics["mAP"] == metrics["mINP"] == pytest.approx((1 + 1 / 2 + 1 / 6) / 3)
    with pytest.raises(SettingsError, match=r"cmc\(0\)"):
        result.cmc(0)


def test_the_camera_rule_drops_same_identity_and_same_camera_only():
    # By distance: own image, a distractor of the same camera, another camera's image of the identity.
    options = {"query_ids": [1], "gallery_ids": [1, 0, 1], "similarity": "euclidean"}
    cameras = {"query_cameras": [3], "gallery_cameras": [3, 3, 4]}
    query, gallery = on_a_line([0.0]), on_a_line([0.0, 1.0, 2.0])
    for protocol in ("cross-camera", "cross-scene"):
        assert rank(query, gallery, **options, **cameras, protocol=protocol).first_hit.tolist() == [2]
    assert rank(query, gallery, **options, **cameras, protocol="all").first_hit.tolist() == [1]


def test_leave_one_out_ignores_the_item_itself_and_not_its_duplicate():
    features = on_a_line([0.0, 0.0, 5.0, 6.0])
    result = rank(
        features,
        features,
        query_ids=[1, 1, -1, 2],
        gallery_ids=[1, 1, -1, 2],
        protocol="leave-one-out",
        similarity="euclidean",
    )
    assert result.first_hit.tolist() == [1, 1, 0, 0]  # junk is nobody's positive, 2 is alone
    assert result.skipped_queries == (2, 3)
    assert (result.queries, result.gallery, result.ignored) == (4, 3, 1)


def test_leave_one_out_of_parts_of_a_set_goes_by_their_rows():
    features = on_a_line([0.0, 1.0, 3.0, 3.5])
    parts = {"query_ids": [1, 2], "gallery_ids": [1, -1, 1, 2], "query_rows": [7, 9], "gallery_rows": [7, 8, 4, 9]}
    result = rank(features[[0, 3]], features, **parts, protocol="leave-one-out", similarity="euclidean")
    assert result.first_hit.tolist() == [1, 0]  # the item at 3.0; the second query has only itself
    result = rank(features[[0, 3]], features, **parts, protocol="all", similarity="euclidean")
    assert result.first_hit.tolist() == [1, 1]
    with pytest.raises(SettingsError, match="of one side only"):
        rank(features, features, query_ids=[1] * 4, gallery_ids=[1] * 4, query_rows=[1, 2, 3, 4], protocol="all")


def test_equal_scores_keep_gallery_order():
    query, gallery = torch.ones(1, 4), torch.ones(5, 4)
    for place in range(5):
        ids = [2] * 5
        ids[place] = 1
        for similarity in ("cosine", "euclidean"):
            result = rank(query, gallery, query_ids=[1], gallery_ids=ids, protocol="all", similarity=similarity)
            assert result.first_hit.tolist() == [place + 1]
    assert "gallery order" in result.tie_rule


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_the_order_of_the_gallery_does_not_matter_without_ties(similarity):
    query, gallery, labels = random_case()
    before = rank(query, gallery, **labels, similarity=similarity)
    order = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(1))
    shuffled = {**labels, **{name: labels[name][order] for name in ("gallery_ids", "gallery_cameras")}}
    after = rank(query, gallery[order], **shuffled, similarity=similarity)
    torch.testing.assert_close(before.average_precision, after.average_precision, equal_nan=True, rtol=0, atol=1e-12)
    assert before.metrics() == pytest.approx(after.metrics(), abs=1e-12)


def test_cosine_is_blind_to_lengths_and_euclidean_is_not():
    query, gallery, labels = random_case()
    lengths = 10 ** torch.linspace(-25, 25, len(gallery), dtype=torch.float64)[:, None]
    scaled = (gallery * lengths).float()
    plain = rank(query, gallery, **labels)
    assert rank(1e30 * query, scaled, **labels).metrics() == pytest.approx(plain.metrics(), abs=1e-6)
    stretched = gallery * torch.linspace(0.1, 10, len(gallery))[:, None]
    euclidean = rank(query, stretched, **labels, similarity="euclidean").metrics()
    assert euclidean != pytest.approx(rank(query, gallery, **labels, similarity="euclidean").metrics(), abs=1e-3)


def test_a_zero_vector_has_cosine_zero_to_all():
    query = torch.tensor([[1.0, 0.0]])
    gallery = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    result = rank(query, gallery, query_ids=[1], gallery_ids=[2, 1, 3], protocol="all")
    assert result.first_hit.tolist() == [2]  # between cosine 0.7 and cosine -1


def test_autocast_does_not_touch_the_scores():
    query, gallery, labels = random_case(width=64)
    plain = rank(query, gallery, **labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = rank(query, gallery, **labels)
    assert torch.equal(plain.average_precision.nan_to_num(-1), cast.average_precision.nan_to_num(-1))


def test_tensors_arrays_and_lists_are_taken_and_left_alone(recwarn, capsys):
    query, gallery, labels = random_case(width=3)
    expected = rank(query, gallery, **labels).metrics()
    read_only = gallery.numpy().copy()
    read_only.setflags(write=False)
    kinds = {
        "float64 and gradients": gallery.double().requires_grad_(),
        "nested lists": gallery.tolist(),
        "list of tensors": list(gallery),
        "read only": read_only,
        "other byte order": gallery.numpy().astype(">f4"),
        "strided": np.ascontiguousarray(gallery.numpy()[::-1])[::-1],
    }
    kept = gallery.clone()
    plain = {name: values.tolist() for name, values in labels.items()}
    for kind, values in kinds.items():
        assert rank(query, values, **plain).metrics() == pytest.approx(expected, abs=1e-6), kind
    assert torch.equal(gallery, kept)
    arrays = {name: values.numpy().astype(np.float64) for name, values in labels.items()}
    assert rank(query.numpy(), gallery, **arrays).metrics() == expected
    half = rank(query.bfloat16(), gallery.bfloat16(), **labels)
    assert half.metrics() == pytest.approx(
        rank(query.bfloat16().float(), gallery.bfloat16().float(), **labels).metrics()
    )
    assert not recwarn.list
    assert capsys.readouterr() == ("", "")
