import torch

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
