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


def test_gradients_in_double_precision_are_those_of_differences():
    bottleneck, tokens = made()
    assert torch.autograd.gradcheck(
        lambda rows: bottleneck.double()(rows, WALK), [tokens.detach().double().requires_grad_()]
    )


def test_what_does_not_learn_gets_no_gradient_and_rows_may_be_none():
    bottleneck, tokens = made()
    bottleneck.norm.requires_grad_(False)
    bottleneck(tokens.detach()[:0], WALK).sum().backward()
    bottleneck.zero_grad()
    bottleneck(tokens.detach(), WALK).square().sum().backward()
    expected, _ = made()
    plainly(expected, tokens).square().sum().backward()
    assert bottleneck.norm.weight.grad is None
    assert torch.allclose(bottleneck.down.weight.grad, expected.down.weight.grad, rtol=1e-4, atol=1e-5)


def test_a_second_derivative_is_refused_and_not_wrong():
    bottleneck, tokens = made()
    (first,) = torch.autograd.grad(bottleneck(tokens, WALK).square().sum(), [tokens], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()
