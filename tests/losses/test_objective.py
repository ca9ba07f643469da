import pytest
import torch
import torch.nn.functional as F

from reidtune.config import LossSection
from reidtune.losses import batch_hard_triplet, cross_entropy_smooth
from reidtune.losses.objective import IdentityObjective


def parts(**weights):
    torch.manual_seed(0)
    objective = IdentityObjective(6, 4, LossSection(**weights))
    features, labels = torch.randn(8, 6), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    total, found = objective({"image": features}, labels)
    return objective, features, labels, total, found


def test_the_loss_is_the_weighted_sum_of_its_parts():
    objective, features, labels, total, found = parts(identity=0.25, triplet=2.0, margin=0.4, label_smoothing=0.2)
    logits = objective.neck(features)
    assert torch.allclose(found["identity"], cross_entropy_smooth(logits, labels, 0.2))
    assert torch.allclose(found["triplet"], batch_hard_triplet(features, labels, 0.4))
    assert torch.allclose(total, 0.25 * found["identity"] + 2.0 * found["triplet"])


def test_a_weight_of_zero_leaves_a_part_out_and_soft_is_the_soft_margin():
    _, features, labels, total, found = parts(identity=0.0, margin="soft")
    assert set(found) == {"triplet"}
    assert torch.allclose(total, batch_hard_triplet(features, labels, None))
    assert set(parts(triplet=0.0)[4]) == {"identity"}


def test_the_triplet_loss_of_unit_features():
    _, features, labels, _, found = parts(triplet_features="unit")
    assert torch.allclose(found["triplet"], batch_hard_triplet(F.normalize(features, dim=1), labels, 0.3))
    assert torch.allclose(found["identity"], parts()[4]["identity"])


@pytest.mark.parametrize("name", ["circle", "arcface", "center"])
def test_a_metric_loss_is_a_further_part_with_its_weight(name):
    pytest.importorskip("pytorch_metric_learning")
    objective, features, labels, total, found = parts(metric=name, metric_weight=0.3)
    again = parts(metric=name, metric_weight=0.3)[0]
    assert torch.allclose(found["metric"], again.metric(features, labels))
    assert torch.allclose(total, found["identity"] + found["triplet"] + 0.3 * found["metric"])


def test_a_metric_loss_leaves_the_initial_values_of_neck_and_classifier():
    pytest.importorskip("pytorch_metric_learning")
    states = []
    for metric in (None, "arcface"):
        torch.manual_seed(0)
        states.append(IdentityObjective(6, 4, LossSection(metric=metric)).state_dict())
    plain, other = states
    assert set(other) - set(plain) == {"metric.loss.W"}
    assert all(torch.equal(value, other[name]) for name, value in plain.items())


def test_autocast_changes_nothing():
    """Neck and classifier too are in fp32, as in every other objective."""
    _, _, _, total, _ = parts()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, _, _, under, _ = parts()
    assert under.dtype == torch.float32
    assert torch.equal(under, total)
