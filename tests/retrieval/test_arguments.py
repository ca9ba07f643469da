"""Rankings, re-ranking and decisions take the same arguments, and refuse the same ones in the same words."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import reidtune
from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.retrieval.decisions import decisions
from reidtune.retrieval.rank import rank
from reidtune.retrieval.rerank import rerank
from tests.retrieval.ranking import random_case

ALL = [rank, partial(rerank, k1=4, k2=2), partial(decisions, fpr=0.1, draws=3)]
EVERY = pytest.mark.parametrize("function", ALL, ids=["rank", "rerank", "decisions"])


def outcome(function, *features, **labels):
    found = function(*features, **labels)
    return found.to_json() if hasattr(found, "to_json") else found.metrics()


@EVERY
def test_files_arrays_and_labels_of_any_kind_are_taken(function, tmp_path):
    query, gallery, labels = random_case(1, 20, 60)
    expected = outcome(function, query, gallery, **labels)
    np.save(tmp_path / "query.npy", query.numpy())
    assert outcome(function, tmp_path / "query.npy", gallery, **labels) == expected
    assert outcome(function, str(tmp_path / "query.npy"), gallery.tolist(), **labels) == expected
    for change in (torch.Tensor.double, torch.Tensor.tolist, lambda values: values.numpy().astype(np.int16)):
        assert outcome(function, query, gallery, **{name: change(some) for name, some in labels.items()}) == expected


@EVERY
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query_ids": ["a", "b", "c"]}, "query_ids must be numbers"),
        ({"query_ids": [1, 2, 2.5]}, "row 2 is 2.5"),
        ({"query_ids": [1.0, 2.0, float("inf")]}, "row 2 is inf"),
        ({"gallery_ids": [1.0, 2.0, float("nan")]}, "row 2 is nan"),
        ({"gallery_ids": [1.0, 2.0, 1e30]}, "row 2 is 1e"),
        ({"query_rows": [0, 1, 2]}, "Rows are given of one side only"),
        ({"pieces": 0}, "pieces is 0"),
        ({"pieces": 2.0}, "pieces is 2.0"),
        ({"pieces": 3}, "3 equal parts"),
        ({"protocol": "cross-camera"}, "needs cameras"),
        ({"similarity": "dot"}, "cosine, euclidean"),
    ],
)
def test_wrong_arguments_are_refused_alike(function, change, words):
    with pytest.raises(SettingsError, match=words):
        function(
            torch.eye(3, 4),
            torch.eye(3, 4),
            **({"query_ids": [1, 2, 3], "gallery_ids": [1, 1, 2], "protocol": "all"} | change),
        )


@EVERY
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_gallery_of_junk_has_nothing_to_score(function, pieces):
    """Also where a modality is missing, of which no gallery item says the mean."""
    query, gallery = torch.ones(5, 8), torch.ones(8, 8)
    query[0, :4] = 0
    with pytest.raises(DataError, match="do not occur in the gallery"):
        function(query, gallery, query_ids=range(5), gallery_ids=[-1] * 8, protocol="all", pieces=pieces)


@EVERY
def test_features_that_are_too_large_are_refused(function):
    query, gallery, labels = random_case(2, 10, 30)
    with pytest.raises(ReidtuneError, match="too large for squared distances"):
        function(query, gallery * 1e25, **labels, similarity="euclidean")
    gallery[labels["gallery_ids"].argmax(), 3] = torch.nan
    with pytest.raises(ReidtuneError, match=f"row {labels['gallery_ids'].argmax()} are not finite"):
        function(query, gallery, **labels)


def test_counts_are_whole_numbers():
    features = torch.eye(4)
    labels = {"query_ids": [1, 1, 2, 2], "gallery_ids": [1, 2, 1, 2], "protocol": "all"}
    for change in ({"tile": 2.5}, {"threads": 1.0}, {"tile": "2"}):
        with pytest.raises(SettingsError, match="must be an integer"):
            rank(features, features, **labels, **change)
    for change in ({"k1": 20.0}, {"k2": 2.0}):
        with pytest.raises(SettingsError, match="must be an integer"):
            rerank(features, features, **labels, **change)
    assert rank(features, features, **labels, tile=np.int64(2)).queries == 4


def test_hints_name_protocols_that_help():
    """Under ``all``, each image of one set would find itself; leave-one-out needs one set."""
    features, cameras = torch.randn(4, 3), {"query_cameras": [0] * 4, "gallery_cameras": [0] * 4}
    for function in (rank, rerank):
        ids = {"query_ids": [1, 1, 2, 2], "gallery_ids": [1, 1, 2, 2]}
        with pytest.raises(DataError, match="takes away every positive") as caught:
            function(features, features, **ids, **cameras)
        assert "leave-one-out" in caught.value.hint and "protocol all" not in caught.value.hint
        with pytest.raises(DataError, match="takes away every positive") as caught:
            function(features, features + 1, **ids, **cameras)
        assert "--protocol all" in caught.value.hint and "leave-one-out" not in caught.value.hint
        with pytest.raises(DataError, match="no identity has two images") as caught:
            function(features, features, query_ids=range(4), gallery_ids=range(4), protocol="leave-one-out")
        assert "protocol" not in caught.value.hint
        with pytest.raises(DataError, match="do not occur") as caught:
            function(features, features, query_ids=[1] * 4, gallery_ids=[2] * 4, protocol="all")
        assert "protocol" not in caught.value.hint


def test_double_precision_as_torchs_default_changes_nothing():
    query, gallery, labels = random_case(3, 20, 60)
    query[::3, :4] = 0
    gallery[::7, 4:] = 0
    cases = [(function, pieces) for function in ALL for pieces in (1, 2)]
    cases += [(partial(function, similarity="euclidean"), 1) for function in ALL]
    expected = [outcome(function, query, gallery, **labels, pieces=pieces) for function, pieces in cases]
    torch.set_default_dtype(torch.float64)
    try:
        found = [outcome(function, query, gallery, **labels, pieces=pieces) for function, pieces in cases]
    finally:
        torch.set_default_dtype(torch.float32)
    assert found == expected


def test_the_public_functions_are_these():
    assert (reidtune.rank, reidtune.rerank, reidtune.decisions) == (rank, rerank, decisions)
