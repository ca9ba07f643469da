"""What cannot be ranked, and what is said about it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.retrieval.rank import rank

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
    assert "--protocol leave-one-out" in caught.value.hint
    assert caught.value.exit_code == 4
    with pytest.raises(DataError, match="do not occur in the gallery"):
        rank(features, features, query_ids=[1, 2], gallery_ids=[3, -1], protocol="all")
    with pytest.raises(DataError):
        rank(features, features, query_ids=[-1, -1], gallery_ids=[-1, -1], protocol="all")
