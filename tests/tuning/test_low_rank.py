"""LoRA equals huggingface/peft's numbers on their tower's weights."""

import torch
from torch import nn

from reidtune.backbone.walk import Walk
from reidtune.tuning.low_rank import LowRank


class Shape:
    """As much of a tower as the component needs."""

    kind, layers, width, blocks = "image", 2, 16, "resblocks"

    def linear_shape(self, name):
        return {"fc1": (16, 64), "fc2": (64, 16)}.get(name, (16, 16))


def test_starts_at_zero_and_a_is_kaiming_uniform():
    torch.manual_seed(0)
    component = LowRank(Shape(), ["q", "fc1"], rank=4, alpha=8.0)
    pair = component.pairs(1)["fc1"]
    assert pair.A.shape == (4, 16)
    assert pair.B.shape == (64, 4)
    assert not pair.B.any()
    bound = 1 / 16**0.5  # kaiming uniform with a = √5: √(6 / ((1 + 5) · fan_in))
    assert pair.A.abs().max() <= bound
    assert pair.A.abs().max() > 0.8 * bound


def test_the_difference_is_scaled_and_only_targets_get_one():
    torch.manual_seed(0)
    component = LowRank(Shape(), ["v"], rank=4, alpha=8.0).eval()
    pair = component.pairs(0)["v"]
    nn.init.normal_(pair.B)
    x, y = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    expected = y + 2.0 * x @ (pair.B @ pair.A).T
    assert torch.allclose(component.linear(None, 0, "v", x, y), expected, atol=1e-5)
    assert component.linear(Walk(), 0, "q", x, y) is y


def test_dropout_acts_while_training_only():
    torch.manual_seed(0)
    component = LowRank(Shape(), ["q"], rank=4, alpha=4.0, dropout=0.5)
    nn.init.normal_(component.pairs(0)["q"].B)
    x, y = torch.randn(1, 3, 16), torch.zeros(1, 3, 16)
    calls = [component.linear(Walk(), 0, "q", x, y) for _ in range(2)]
    assert not torch.equal(*calls)
    component.eval()
    assert torch.equal(component.linear(Walk(), 0, "q", x, y), component.linear(Walk(), 0, "q", x, y))
