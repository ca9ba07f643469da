"""Every subset of the modalities against every other."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from reidtune.data import open_dataset
from reidtune.evaluation import evaluate_dataset
from reidtune.retrieval.subsets import subsets
from tests.missing.known import NAMES


def test_the_matrix_is_every_subset_against_every_other(spectral_world, name, delta):
    path, seen = delta(NAMES), []
    result = evaluate_dataset(
        str(spectral_world), path, backbone=name, matrix=True, progress=lambda *count: seen.append(count)
    )
    pairs = [(cell["query"], cell["gallery"]) for cell in result["matrix"]]
    assert pairs == [(list(one), list(other)) for one, other in product(subsets(NAMES), subsets(NAMES))]
    samples = result["queries"]["total"]
    assert seen[-1] == (7 * samples, 7 * samples)  # each subset once, for both sides
    assert result["matrix"][-1]["metrics"] == result["metrics"]
    for place in (0, 5, 17, 40):
        cell = result["matrix"][place]
        alone = evaluate_dataset(
            str(spectral_world),
            path,
            backbone=name,
            query_modalities=cell["query"],
            gallery_modalities=cell["gallery"],
        )
        assert cell["metrics"] == pytest.approx(alone["metrics"])
        assert cell["queries"] == {"total": samples, "skipped": 0}
    assert result["metrics"] == evaluate_dataset(str(spectral_world), path, backbone=name)["metrics"]


def test_a_matrix_of_some_modalities(spectral_world, name):
    result = evaluate_dataset(
        str(spectral_world), backbone=name, matrix=True, modalities=["rgb", "tir"], gallery_modalities=["tir"]
    )
    assert [cell["query"] for cell in result["matrix"]] == [["rgb"], ["tir"], ["rgb", "tir"]]
    assert {tuple(cell["gallery"]) for cell in result["matrix"]} == {("tir",)}


def test_a_cell_without_anything_to_score_has_no_metrics(spectral_world, name, opened):
    """Thermal images are of another camera than the query's for nobody."""
    dataset = open_dataset(spectral_world)
    first = {record.identity: record.camera for record in reversed(dataset.gallery)}
    gallery = [
        record
        if record.camera == first[record.identity]
        else replace(record, images=record.images[:2], modalities=NAMES[:2])
        for record in dataset.gallery
    ]
    query = [record for record in gallery if record.camera == first[record.identity]]
    opened(replace(dataset, query=query, gallery=gallery))
    result = evaluate_dataset("any", backbone=name, matrix=True)
    for cell in result["matrix"]:
        if cell["gallery"] == ["tir"]:
            assert cell["metrics"] is None
            assert cell["queries"] == {"total": len(query), "skipped": len(query)}
        else:
            assert 0 < cell["metrics"]["mAP"] <= 1
