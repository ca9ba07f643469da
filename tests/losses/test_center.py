from __future__ import annotations

import pytest
import torch

from reidtune.losses import CenterLoss

FEATURES = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 1.0]])
LABELS = torch.tensor([0, 0, 2])


def test_half_the_mean_square_to_the_centre_of_the_first_images():
    loss = CenterLoss(3, 2)
    assert loss(FEATURES, LABELS).item() == pytest.approx((1 + 1 + 0) / 3 / 2)
    assert loss.centers.tolist() == [[1, 0], [0, 0], [5, 1]]
    assert loss.seen.tolist() == [True, False, True]


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_centres_move_by_the_rule_of_the_paper(alpha):
    loss = CenterLoss(3, 2, alpha)
    loss(FEATURES, LABELS)
    moved = FEATURES + torch.tensor([[4.0, 0.0], [2.0, 2.0], [0.0, 0.0]])
    assert loss(moved, LABELS).item() == pytest.approx((9 + 9 + 4) / 3 / 2)
    # Differences from (1, 0): (3, 0) and (3, 2), divided by 1 + 2 images.
    assert loss.centers[0].tolist() == pytest.approx([1 + alpha * 6 / 3, alpha * 2 / 3])
    assert loss.centers[2].tolist() == [5, 1]


def test_the_gradient_is_the_distance_and_no_centre_has_one():
    loss = CenterLoss(3, 2)
    features = FEATURES.clone().requires_grad_()
    loss(features, LABELS).backward()
    assert features.grad.tolist() == [pytest.approx(row) for row in [[-1 / 3, 0], [1 / 3, 0], [0, 0]]]
    assert not list(loss.parameters())


def test_centres_stay_in_evaluation_and_are_in_the_state():
    loss = CenterLoss(3, 2)
    loss(FEATURES, LABELS)
    again = CenterLoss(3, 2)
    again.load_state_dict(loss.state_dict())
    again.eval()
    before = again.centers.clone()
    assert again(FEATURES + 1, LABELS) == loss.eval()(FEATURES + 1, LABELS)
    assert torch.equal(again.centers, before)
