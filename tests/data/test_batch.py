from __future__ import annotations

import torch

from reidtune.data import make_batch

from .conftest import record


def test_a_batch_carries_texts_and_may_lack_images():
    texts = torch.ones(2, 4, dtype=torch.int64)
    batch = make_batch(None, [record(1, 5), record(2, 6)], texts=texts).to(torch.device("cpu"))
    assert batch.images is None
    assert batch.labels is None
    assert torch.equal(batch.texts, texts)
    assert batch.cameras.tolist() == [5, 6]


def test_cameras_that_are_known_in_part_are_none():
    assert make_batch(torch.zeros(2, 3, 4, 4), [record(1, 5), record(2)]).cameras is None
