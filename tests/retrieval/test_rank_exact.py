"""The same numbers for every tile, number of threads, kind of storage and way of saying how often an image counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reidtune.retrieval.rank import rank
from tests.retrieval.ranking import by_sorting, random_case, same_bits

PROTOCOLS = ["cross-camera", "cross-scene", "all", "leave-one-out", "cross-modality"]


def whole_numbers(seed: int, queries: int, items: int, width: int = 3):
    """As ``random_case``, with ties everywhere and squared distances that fp32 holds exactly."""
    query, gallery, labels = random_case(seed, queries, items, width)
    return (2 * query).round(), (2 * gallery).round(), labels


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("tile", [1, 300, 512, 10_000])
@pytest.mark.parametrize("threads", [1, 2])
def test_equals_sorting_in_float64(protocol, tile, threads):
    query, gallery, labels = whole_numbers(tile + threads, 300, 700)  # several blocks of both
    if protocol == "leave-one-out":
        query, labels["query_ids"] = gallery, labels["gallery_ids"]
    options = {"protocol": protocol, "similarity": "euclidean", "tile": tile, "threads": threads}
    if protocol not in ("cross-camera", "cross-scene"):
        result = rank(query, gallery, **{name: labels[name] for name in ("query_ids", "gallery_ids")}, **options)
    else:
        result = rank(query, gallery, **labels, **options)
    precision, penalty, first = by_sorting(query, gallery, labels, protocol)
    np.testing.assert_allclose(result.average_precision.numpy(), precision, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.inverse_negative_penalty.numpy(), penalty, rtol=0, atol=1e-12)
    assert result.first_hit.tolist() == first.tolist()


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
@pytest.mark.parametrize("width", [8, 100, 512])
def test_every_tile_and_number_of_threads_gives_the_same_bits(similarity, width):
    query, gallery, labels = random_case(width, 300, 1500, width)
    gallery[700:900] = gallery[100:300]  # of other identities, so that there are ties
    whole = rank(query, gallery, **labels, similarity=similarity, tile=5000, threads=1)
    assert whole.tied_queries
    for tile in (1, 257, 600, None):
        for threads in (1, 2, 3):
            assert same_bits(rank(query, gallery, **labels, similarity=similarity, tile=tile, threads=threads), whole)


def test_a_pair_is_scored_alike_wherever_it_stands():
    """Every item of the gallery twice, far apart: positives of one half and negatives of the other tie to the bit."""
    query, gallery, labels = random_case(3, 200, 700, 512)
    options = {"query_ids": labels["query_ids"], "protocol": "all"}
    ids = labels["gallery_ids"].clamp(min=0)
    nobody = torch.zeros_like(ids)
    first = rank(query, torch.cat([gallery, gallery]), gallery_ids=torch.cat([ids, nobody]), **options)
    scored = [row for row in range(len(query)) if row not in first.skipped_queries]
    assert list(first.tied_queries) == scored and first.near_ties == len(scored)
    last = rank(query, torch.cat([gallery, gallery]), gallery_ids=torch.cat([nobody, ids]), **options)
    assert torch.equal(first.best.average_precision.nan_to_num(-1), last.best.average_precision.nan_to_num(-1))
    assert torch.equal(first.worst.first_hit, last.worst.first_hit)
    assert first.mean_average_precision > last.mean_average_precision > last.worst.mean_average_precision - 1e-12
    lone = rank(query, gallery, gallery_ids=ids, **options)
    assert not lone.tied_queries and lone.best is None and lone.worst is None


def test_bounds_of_ties_and_near_ties_by_hand():
    query, gallery = torch.zeros(2, 1), torch.tensor([[1.0], [1.0], [1.0], [2.0]])
    result = rank(query, gallery, query_ids=[1, 2], gallery_ids=[7, 1, 8, 2], protocol="all", similarity="euclidean")
    assert result.first_hit.tolist() == [2, 4]
    assert result.tied_queries == (0,)
    assert (result.best.first_hit.tolist(), result.worst.first_hit.tolist()) == ([1, 4], [3, 4])
    assert result.near_ties == 1
    close = torch.tensor([[1.0, 0.0], [1.0, 1e-4], [1.0, 1.0]])  # cosines 1 − 5e-9, equal to 1 in fp32
    assert rank(close[:1], close, query_ids=[1], gallery_ids=[1, 2, 3], protocol="all").near_ties == 1
    assert rank(close[:1], close, query_ids=[3], gallery_ids=[1, 2, 3], protocol="all").near_ties == 0


def test_near_ties_of_large_scores_are_a_rounding_apart():
    """Squared distances around a million, of which fp32 holds sixteenths."""
    query = torch.zeros(1, 1)
    ids = {"query_ids": [1], "gallery_ids": [1, 2], "protocol": "all", "similarity": "euclidean"}
    for apart, near in ((1e-4, (0,)), (1e-2, ())):
        result = rank(query, torch.tensor([[1000.0], [1000.0 + apart]]), **ids)
        assert not result.tied_queries and result.near_queries == near


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_weights_are_identical_images_side_by_side(protocol):
    query, gallery, labels = whole_numbers(5, 300, 600)
    weights = torch.randint(1, 9, (600,), generator=torch.Generator().manual_seed(1))
    expanded = {name: labels[name].repeat_interleave(weights) for name in ("gallery_ids", "gallery_cameras")}
    options = {"protocol": protocol, "similarity": "euclidean"}
    rows, all_rows = {}, {}
    if protocol == "leave-one-out":  # one of the copies of an item is the query
        query, labels["query_ids"] = gallery, labels["gallery_ids"]
        labels["query_cameras"] = labels["gallery_cameras"]
        first = weights.cumsum(0) - weights
        rows = {"query_rows": range(600), "gallery_rows": range(600)}
        all_rows = {"query_rows": first, "gallery_rows": range(int(weights.sum()))}
    result = rank(query, gallery, **labels, gallery_weights=weights, **rows, **options)
    plain = rank(query, gallery.repeat_interleave(weights, 0), **{**labels, **expanded}, **all_rows, **options)
    assert result.gallery == int(weights[labels["gallery_ids"] != -1].sum())
    assert same_bits(result, plain)
    assert not same_bits(result, rank(query, gallery, **labels, **rows, **options))


def test_files_arrays_and_tensors_give_the_same_bits(tmp_path):
    query, gallery, labels = random_case(7, 100, 900, 24)
    gallery = gallery.half()
    np.save(tmp_path / "gallery.npy", gallery.numpy())
    save_file({"features": gallery}, tmp_path / "gallery.safetensors")
    save_file({"features": gallery.bfloat16()}, tmp_path / "coarse.safetensors")
    expected = rank(query, gallery.float(), **labels)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    for values in (gallery, mapped, tmp_path / "gallery.npy", str(tmp_path / "gallery.safetensors")):
        assert same_bits(rank(query, values, **labels), expected)
    coarse = rank(query, gallery.bfloat16().float(), **labels)
    assert same_bits(rank(query, tmp_path / "coarse.safetensors", **labels), coarse)
    assert not same_bits(coarse, expected)


def test_an_allowed_coarse_product_does_not_reach_the_ranking():
    query, gallery, labels = random_case(1, 40, 300, 64)
    plain = rank(query, gallery, **labels)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert same_bits(rank(query, gallery, **labels), plain)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
