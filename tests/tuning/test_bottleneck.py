"""The bottleneck behind a LayerNorm, written by hand, against autograd."""

import pytest
import torch
import torch.nn.functional as F

from reidtune.backbone.walk import Walk
from reidtune.training.memory import saved_bytes
from reidtune.tuning.bottleneck import Bottleneck

WALK = Walk(seeds=torch.tensor([1, 2, 3]))


def made(seed=0):
    torch.manual_seed(seed)
    bottleneck = Bottleneck(16, 6, "normal", norm=True)
    with torch.no_grad():
        for parameter in bottleneck.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    return bottleneck, torch.randn(3, 7, 16, requires_grad=True)


def plainly(bottleneck, tokens):
    return bottleneck.up(F.relu(bottleneck.down(bottleneck.norm(tokens))))


def gradients(outcome, bottleneck, tokens):
    weights = torch.linspace(-1, 2, outcome.numel()).view_as(outcome)
    return torch.autograd.grad((outcome * weights).sum(), [tokens, *bottleneck.parameters()])


def test_outcome_and_gradients_are_those_of_autograd():
    bottleneck, tokens = made()
    ours, theirs = bottleneck(tokens, WALK), plainly(bottleneck, tokens)
    assert torch.allclose(ours, theirs, atol=1e-6)
    for one, other in zip(gradients(ours, bottleneck, tokens), gradients(theirs, bottleneck, tokens), strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def test_only_the_rows_are_kept():
    bottleneck, tokens = made()
    held = list(bottleneck.parameters())
    assert saved_bytes(lambda: bottleneck(tokens, WALK), held) == 4 * (tokens.numel() + 2 * 21)
    assert saved_bytes(lambda: plainly(bottleneck, tokens), held) == 4 * (2 * tokens.numel() + 2 * 21 + 6 * 21)


def test_dropout_takes_the_plain_way_with_the_same_formula():
    bottleneck, tokens = made()
    assert torch.equal(bottleneck.eval()(tokens, WALK, 0.5, "x"), bottleneck(tokens, WALK))
    dropped = bottleneck.train()(tokens, WALK, 0.5, "x")
    assert not torch.allclose(dropped, bottleneck(tokens, WALK))
    assert torch.equal(dropped, bottleneck(tokens, WALK, 0.5, "x"))


@pytest.mark.parametrize("norm", [False, True])
def test_under_autocast_the_matrices_are_bf16(norm):
    torch.manual_seed(0)
    bottleneck, tokens = Bottleneck(16, 6, "normal", norm=norm), torch.randn(3, 7, 16, requires_grad=True)
    expected = gradients(bottleneck(tokens, WALK), bottleneck, tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outcome = bottleneck(tokens, WALK)
    assert outcome.dtype == torch.bfloat16
    for one, other in zip(gradients(outcome.float(), bottleneck, tokens), expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() <= 0.03 * other.norm()
