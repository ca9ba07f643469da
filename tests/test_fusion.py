"""Several modalities as one batch, and back."""

import torch

from reidtune.data.batch import Batch
from reidtune.fusion import by_sample, join, modality_walk, present_of

PRESENT = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1]]).bool()


def batch(**known):
    images = torch.arange(9.0).view(3, 3, 1, 1, 1).expand(3, 3, 3, 4, 2)  # image m of sample b shows 3·b + m
    return Batch(images, **known)


def test_images_come_modality_by_modality_and_only_those_that_are_there():
    images, walk = modality_walk(
        batch(present=PRESENT, labels=torch.tensor([5, 6, 7]), cameras=torch.tensor([1, 2, 3]))
    )
    assert images[:, 0, 0, 0].tolist() == [0, 6, 4, 7, 2, 8]
    assert walk.modality.tolist() == [0, 0, 1, 1, 2, 2]
    assert walk.samples.tolist() == [0, 2, 1, 2, 0, 2]
    assert walk.labels.tolist() == [5, 7, 6, 7, 5, 7]
    assert walk.cameras.tolist() == [1, 3, 2, 3, 1, 3]
    assert walk.seeds is None


def test_all_are_there_where_nothing_else_is_said():
    images, walk = modality_walk(batch())
    assert len(images) == 9 and walk.samples.tolist() == [0, 1, 2] * 3
    assert present_of(batch()).all()


def test_dropout_differs_between_modalities_and_not_with_what_is_missing():
    seeds = torch.tensor([11, 12, 13])
    whole = modality_walk(batch(seeds=seeds))[1]
    part = modality_walk(batch(seeds=seeds, present=PRESENT))[1]
    assert len(set(whole.seeds.tolist())) == 9
    placed = by_sample(whole.seeds, whole, 3, 3)
    assert part.seeds.tolist() == placed[part.samples, part.modality].tolist()


def test_rows_go_back_to_their_samples_with_their_gradient():
    images, walk = modality_walk(batch(present=PRESENT))
    rows = images.flatten(1).clone().requires_grad_()
    placed = by_sample(rows, walk, 3, 3)
    assert placed[..., 0].tolist() == [[0, 0, 2], [0, 4, 0], [6, 7, 8]]
    (placed * torch.arange(1.0, 4.0)[:, None, None]).sum().backward()
    assert rows.grad[:, 0].tolist() == [1, 3, 2, 3, 1, 3]


def test_features_stand_side_by_side_and_a_missing_one_is_zeros():
    features = torch.tensor([[[1.0, 2.0], [9.0, 9.0], [3.0, 6.0]], [[9.0, 9.0], [5.0, 7.0], [9.0, 9.0]]])
    assert join(features, torch.ones(2, 3).bool()).tolist() == [[1, 2, 9, 9, 3, 6], [9, 9, 5, 7, 9, 9]]
    assert join(features, PRESENT[:2]).tolist() == [[1, 2, 0, 0, 3, 6], [0, 0, 5, 7, 0, 0]]
