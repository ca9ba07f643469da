from __future__ import annotations

import pytest
import torch

from reidtune.retrieval.embed import embed_both, embed_texts
from tests.retrieval import colours

CAPTIONS = ["a red coat", "a hat", "a red coat", "blue shoes", "a hat", "a bag"]


def tokenize(captions):
    """The letters of a caption, filled up with 0."""
    return torch.tensor(
        [[ord(letter) - 96 for letter in caption.replace(" ", "z").ljust(12, "`")] for caption in captions]
    )


def encode(ids):
    """How often each letter occurs, [B, 27]. Depends on the size of the batch in its last bits, as a product may."""
    return torch.nn.functional.one_hot(ids, 27).sum(1).bfloat16() + 0.1 * len(ids)


def test_features_are_unit_rows_in_the_order_of_the_captions():
    features = embed_texts(encode, CAPTIONS, tokenize)
    assert (features.shape, features.dtype) == ((6, 27), torch.float32)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(6))
    alone = torch.nn.functional.normalize(encode(tokenize(CAPTIONS)).float(), dim=1)
    nearest = (features @ alone.T).argmax(1)
    assert [CAPTIONS[place] for place in nearest] == CAPTIONS


def test_equal_captions_have_equal_features_whatever_their_batch():
    features = embed_texts(encode, CAPTIONS, tokenize, batch_size=3)
    assert torch.equal(features[0], features[2])
    assert torch.equal(features[1], features[4])


def test_progress_counts_different_captions_by_batch():
    seen = []
    embed_texts(encode, CAPTIONS, tokenize, batch_size=3, progress=seen.append)
    assert seen == [3, 1]


def test_no_gradient_is_kept():
    weight = torch.ones(12, requires_grad=True)
    assert not embed_texts(lambda ids: ids * weight, CAPTIONS, tokenize).requires_grad


def test_features_are_unit_rows_in_the_order_of_the_records(person):
    query, gallery = [person(1, 40)], [person(1, 20), person(2, 70)]
    one, other = embed_both(colours.encode, colours.PREPROCESS, query, gallery, batch_size=2)
    angles = torch.rad2deg(torch.atan2(*torch.cat([one, other]).T.flip(0)))
    assert angles.tolist() == pytest.approx([40, 20, 70], abs=0.5)
    assert torch.cat([one, other]).norm(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_a_record_in_query_and_gallery_is_embedded_once(person):
    records = [person(1, 10), person(1, 20), person(2, 60), person(2, 80)]
    seen = []
    one, other = embed_both(
        colours.encode, colours.PREPROCESS, records[1:], records, batch_size=3, progress=seen.append
    )
    assert seen == [3, 1]
    assert torch.equal(one, other[1:])
