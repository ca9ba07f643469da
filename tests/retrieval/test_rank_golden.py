"""The papers' evaluators on the same features; tests/golden/evaluation.json explains every number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from reidtune.data.record import Record
from reidtune.retrieval.rank import rank
from reidtune.retrieval.scoring import rank_features


@pytest.fixture(scope="module")
def reference():
    folder = Path(__file__).parents[1] / "golden"
    return load_file(folder / "evaluation.safetensors"), json.loads((folder / "evaluation.json").read_text())["results"]


def labels(tensors, case, places):
    return {
        "query_ids": tensors[f"{case}.query_pids"],
        "gallery_ids": tensors[f"{case}.gallery_pids"],
        "query_cameras": tensors[f"{case}.query_{places}"],
        "gallery_cameras": tensors[f"{case}.gallery_{places}"],
    }


def check_metrics(result, expected, tolerance=1e-6):
    for k in (1, 5, 10, 20):
        assert result.cmc(k) == pytest.approx(expected[f"cmc@{k}"], abs=tolerance)
    assert result.mean_average_precision == pytest.approx(expected["mAP"], abs=tolerance)
    if "mINP" in expected:
        assert result.mean_inverse_negative_penalty == pytest.approx(expected["mINP"], abs=tolerance)


def check_queries(result, tensors, prefix, valid):
    for name, values in (("AP", result.average_precision), ("INP", result.inverse_negative_penalty)):
        torch.testing.assert_close(values[valid].float(), tensors[f"{prefix}.{name}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_market_rule(reference, similarity):
    tensors, results = reference
    query, gallery = tensors["market.query_features"], tensors["market.gallery_features"]
    result = rank(query, gallery, **labels(tensors, "market", "cams"), similarity=similarity)
    check_metrics(result, results["market"]["junk_removed"][f"fastreid_{similarity}"])
    valid = tensors["market.valid_query"].bool()
    check_queries(result, tensors, f"market.fastreid_{similarity}", valid)
    assert result.skipped_queries == tuple((~valid).nonzero()[:, 0].tolist())
    assert (result.queries, result.gallery, result.ignored) == (300, 1880, 120)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_junk_would_count_as_distractors(reference, similarity):
    tensors, results = reference
    names = labels(tensors, "market", "cams")
    names["gallery_ids"] = names["gallery_ids"].clamp(min=0)  # −1 becomes 0
    query, gallery = tensors["market.query_features"], tensors["market.gallery_features"]
    result = rank(query, gallery, **names, similarity=similarity)
    check_metrics(result, results["market"]["junk_kept_as_negatives"][f"fastreid_{similarity}"])
    assert result.ignored == 0


@pytest.mark.parametrize("evaluator", ["torchreid", "clipreid", "demo"])
def test_the_other_public_evaluators_agree(reference, evaluator):
    tensors, results = reference
    query, gallery = tensors["market.query_features"], tensors["market.gallery_features"]
    kind = "cosine" if evaluator == "torchreid" else "normalised_euclidean"
    result = rank(query, gallery, **labels(tensors, "market", "cams"))
    check_metrics(result, results["market"]["junk_removed"][f"{evaluator}_{kind}"])


@pytest.mark.parametrize("tile", [1, 32, 256])
def test_ties_keep_gallery_order(reference, tile):
    tensors, results = reference
    query, gallery = tensors["ties.query_features"], tensors["ties.gallery_features"]
    result = rank(query, gallery, **labels(tensors, "ties", "cams"), similarity="euclidean", tile=tile)
    check_metrics(result, results["ties"]["fastreid"]["stable_sort_gallery_order"])
    check_queries(result, tensors, "ties.stable", torch.ones(len(query), dtype=torch.bool))


@pytest.mark.parametrize(
    ("rule", "row"),
    [
        (None, "stable_sort_gallery_order"),
        ("best", "optimistic_positives_first"),
        ("worst", "pessimistic_negatives_first"),
    ],
)
@pytest.mark.parametrize("evaluator", ["fastreid", "irra_no_camera_filter"])
def test_ties_in_favour_of_and_against_the_positives(reference, evaluator, rule, row):
    tensors, results = reference
    protocol = "cross-camera" if evaluator == "fastreid" else "all"
    result = rank(
        tensors["ties.query_features"],
        tensors["ties.gallery_features"],
        **labels(tensors, "ties", "cams"),
        protocol=protocol,
        similarity="euclidean",
    )
    scores = getattr(result, rule) if rule else result
    expected = results["ties"][evaluator][row]
    percent, prefix, tolerance = (1, "cmc@", 1e-6) if evaluator == "fastreid" else (100, "R", 2e-4)
    assert percent * scores.mean_average_precision == pytest.approx(expected["mAP"], abs=tolerance)
    assert percent * scores.mean_inverse_negative_penalty == pytest.approx(expected["mINP"], abs=tolerance)
    for k in (1, 5, 10):
        assert percent * scores.cmc(k) == pytest.approx(expected[f"{prefix}{k}"], abs=tolerance)


@pytest.mark.parametrize(("similarity", "expected"), [("cosine", "normalised"), ("euclidean", "raw")])
def test_scene_rule(reference, similarity, expected):
    tensors, results = reference
    query, gallery = tensors["msvr310.query_features"], tensors["msvr310.gallery_features"]
    names = labels(tensors, "msvr310", "scenes")
    result = rank(query, gallery, **names, protocol="cross-scene", similarity=similarity)
    check_metrics(result, results["msvr310"][f"scene_filter_{expected}"])
    assert result.queries - len(result.skipped_queries) == results["msvr310"]["valid_queries_scene_filter"]


def test_scene_rule_of_records_of_joined_features(reference):
    """As ``reidtune evaluate`` ranks samples: joined features that lack nothing, scenes of records."""
    tensors, results = reference
    query, gallery = (
        [
            Record((), identity, camera=view, scene=scene)
            for identity, scene, view in zip(
                *(tensors[f"msvr310.{side}_{name}"].tolist() for name in ("pids", "scenes", "views")), strict=True
            )
        ]
        for side in ("query", "gallery")
    )
    features = [F.normalize(tensors[f"msvr310.{side}_features"]) for side in ("query", "gallery")]
    for pieces in (1, 2):
        result = rank_features(*features, query, gallery, "cross-scene", pieces=pieces)
        check_metrics(result, results["msvr310"]["scene_filter_normalised"])


def test_scenes_are_not_views(reference):
    tensors, results = reference
    query, gallery = tensors["msvr310.query_features"], tensors["msvr310.gallery_features"]
    result = rank(query, gallery, **labels(tensors, "msvr310", "views"))
    check_metrics(result, results["msvr310"]["view_used_as_camera_filter_normalised_for_contrast"])


@pytest.mark.parametrize(("direction", "query", "gallery"), [("t2i", "caption", "image"), ("i2t", "image", "caption")])
def test_text_and_images(reference, direction, query, gallery):
    tensors, results = reference
    result = rank(
        tensors[f"text.{query}_features"],
        tensors[f"text.{gallery}_features"],
        query_ids=tensors[f"text.{query}_pids"],
        gallery_ids=tensors[f"text.{gallery}_pids"],
        protocol="cross-modality",
    )
    expected = results["text"][direction]
    for k in (1, 5, 10):
        assert 100 * result.cmc(k) == pytest.approx(expected[f"R{k}"], abs=2e-4)
    assert 100 * result.mean_average_precision == pytest.approx(expected["mAP"], abs=2e-4)
    assert 100 * result.mean_inverse_negative_penalty == pytest.approx(expected["mINP"], abs=2e-4)
