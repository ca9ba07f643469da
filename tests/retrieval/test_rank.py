"""Rankings by hand, by brute force, and by their properties. The papers' numbers are in test_rank_golden.py."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.retrieval import rank as module
from reidtune.retrieval.rank import RankResult, rank, score_rows


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


FLOATS = [-3e38, -1.0 - 2**-23, -1.0, -1e-30, -1e-45, -0.0, 0.0, 1e-45, 1e-38, 1.0, 1.0 + 2**-23, 3e38]


@pytest.mark.parametrize("seed", range(8))
def test_score_rows_equals_sorting_for_every_kind_of_fp32(seed):
    """Denormal, negative, huge and neighbouring scores, both zeros (which are equal), and many ties."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.tensor(FLOATS)[torch.randint(len(FLOATS), (9, 30), generator=generator)]
    positive = torch.rand(9, 30, generator=generator) < torch.linspace(0, 1, 9)[:, None]
    dropped = torch.rand(9, 30, generator=generator) < 0.3
    kept = scores.clone(), positive.clone(), dropped.clone()
    precision, penalty, first = score_rows(scores, positive, dropped)
    for row in range(9):
        order = sorted((i for i in range(30) if not dropped[row, i]), key=lambda i: (-scores[row, i].item(), i))
        hits = [rank for rank, i in enumerate(order, 1) if positive[row, i]]
        if not hits:
            assert math.isnan(precision[row])
            assert math.isnan(penalty[row])
            assert first[row] == 0
            continue
        expected = math.fsum(number / rank for number, rank in enumerate(hits, 1)) / len(hits)
        assert precision[row].item() == pytest.approx(expected, abs=1e-12)
        assert penalty[row].item() == pytest.approx(len(hits) / hits[-1], abs=1e-12)
        assert first[row] == hits[0]
    assert first[0] == 0 < first[-1]  # no positive in the first row, positives alone in the last
    assert all(torch.equal(before, now) for before, now in zip(kept, (scores, positive, dropped), strict=True))


def test_average_precision_is_summed_in_double_precision():
    items = 200_000
    scores = torch.linspace(1, 0, items)[None]
    positive = torch.zeros(1, items, dtype=torch.bool)
    positive[0, 1::2] = True  # every second item, so that every precision is 1/2
    precision, penalty, first = score_rows(scores, positive)
    assert precision.item() == pytest.approx(0.5, abs=1e-14)
    assert penalty.item() == 0.5
    assert first.item() == 2


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


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_the_order_of_the_gallery_does_not_matter_without_ties(similarity):
    query, gallery, labels = random_case()
    before = rank(query, gallery, **labels, similarity=similarity)
    order = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(1))
    shuffled = {**labels, **{name: labels[name][order] for name in ("gallery_ids", "gallery_cameras")}}
    after = rank(query, gallery[order], **shuffled, similarity=similarity)
    torch.testing.assert_close(before.average_precision, after.average_precision, equal_nan=True, rtol=0, atol=1e-12)
    assert before.metrics() == pytest.approx(after.metrics(), abs=1e-12)


@pytest.mark.parametrize("tile", [1, 7, 59, 60, 1000])
def test_the_tile_bounds_the_scores_and_does_not_change_the_result(tile, monkeypatch):
    query, gallery, labels = random_case()
    whole = rank(query, gallery, **labels)
    rows = []

    def counting(queries, *others, plain=module._scores):
        rows.append(len(queries))
        return plain(queries, *others)

    monkeypatch.setattr(module, "_scores", counting)
    tiled = rank(query, gallery, **labels, tile=tile)
    torch.testing.assert_close(whole.average_precision, tiled.average_precision, equal_nan=True, rtol=0, atol=1e-12)
    assert torch.equal(whole.first_hit, tiled.first_hit)
    assert max(rows) <= tile
    assert sum(rows) == len(query)
    rows.clear()
    monkeypatch.setattr(module, "_TILE_ENTRIES", 5 * len(gallery))
    assert rank(query, gallery, **labels, tile=tile).metrics() == pytest.approx(whole.metrics(), abs=1e-12)
    assert max(rows) * whole.gallery <= 5 * len(gallery)


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


QUERY, GALLERY = torch.zeros(2, 4), torch.zeros(3, 4)
GOOD = {"query_ids": [1, 2], "gallery_ids": [1, 2, 3], "protocol": "all"}


@pytest.mark.parametrize(
    ("query", "gallery", "change", "words"),
    [
        (torch.zeros(2, 4), torch.zeros(3, 5), {}, ["4 columns", "5"]),
        (torch.zeros(4), torch.zeros(3, 4), {}, ["query", "[N, D]"]),
        (torch.zeros(2, 4), torch.zeros(0, 4), {}, ["gallery", "[N, D]"]),
        (torch.zeros(2, 0), torch.zeros(3, 0), {}, ["[N, D]"]),
        ([[1.0, 2.0], [1.0]], torch.zeros(3, 2), {}, ["query features are no array"]),
        (QUERY, GALLERY, {"query_ids": [1]}, ["query_ids", "[2]", "[1]"]),
        (QUERY, GALLERY, {"gallery_ids": [[1], [2], [3]]}, ["gallery_ids", "[3, 1]"]),
        (QUERY, GALLERY, {"query_ids": ["a", "b"]}, ["query_ids must be numbers", "integer each"]),
        (QUERY, GALLERY, {"query_ids": [1, None]}, ["query_ids must be numbers"]),
        (
            QUERY,
            GALLERY,
            {"query_ids": [1.0, 2.5]},
            ["query_ids must be integers", "row 1 is 2.5"],
        ),
        (QUERY, GALLERY, {"protocol": "cross-camrea"}, ['Did you mean "cross-camera"']),
        (QUERY, GALLERY, {"similarity": "dot"}, ['"dot"', "cosine, euclidean"]),
        (
            QUERY,
            GALLERY,
            {"protocol": "cross-camera"},
            ["cameras", "--protocol all", "leave-one"],
        ),
        (
            QUERY,
            GALLERY,
            {"protocol": "cross-scene", "query_cameras": [1, 1]},
            ["cross-scene", "--protocol all"],
        ),
        (QUERY, GALLERY, {"protocol": "leave-one-out"}, ["2 queries", "3 gallery", "all"]),
    ],
)
def test_wrong_inputs_are_refused_with_their_values(query, gallery, change, words):
    with pytest.raises(SettingsError) as caught:
        rank(query, gallery, **{**GOOD, **change})
    assert caught.value.exit_code == 2
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_are_named(value):
    broken = torch.ones(3, 4)
    broken[2, 1] = value
    with pytest.raises(ReidtuneError, match="gallery features of row 2 are not finite") as caught:
        rank(torch.ones(2, 4), broken, **GOOD)
    assert caught.value.exit_code == 1
    with pytest.raises(ReidtuneError, match="query features of row 2"):
        rank(broken, broken, query_ids=[1, 2, 3], gallery_ids=[1, 2, 3], protocol="all")


def test_features_beyond_fp32_are_refused_not_misranked(recwarn):
    with pytest.raises(ReidtuneError, match="row 0 are not finite"):
        rank(np.full((2, 4), 1e300), np.ones((3, 4)), **GOOD)
    with pytest.raises(ReidtuneError, match="gallery features of row 1 are too large"):
        rank(torch.ones(2, 4), torch.tensor([[1.0], [1e19], [1.0]]).expand(3, 4), **GOOD, similarity="euclidean")
    assert not recwarn.list


def test_without_any_positive_the_reason_is_said():
    features = torch.eye(2)
    with pytest.raises(DataError, match="takes away every positive") as caught:
        rank(features, features, query_ids=[1, 2], gallery_ids=[1, 2], query_cameras=[1, 1], gallery_cameras=[1, 1])
    assert "--protocol all" in caught.value.hint
    assert caught.value.exit_code == 4
    with pytest.raises(DataError, match="do not occur in the gallery"):
        rank(features, features, query_ids=[1, 2], gallery_ids=[3, -1], protocol="all")
    with pytest.raises(DataError):
        rank(features, features, query_ids=[-1, -1], gallery_ids=[-1, -1], protocol="all")
