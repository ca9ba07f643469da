"""The mixture written by hand against the formula, differentiated by autograd."""

import pytest
import torch
import torch.nn.functional as F

from reidtune.training.memory import saved_bytes
from reidtune.tuning import experts as module
from reidtune.tuning.experts import Experts, routed_mixture

ROWS, WIDTH, HIDDEN, EXPERTS, ACTIVE = 40, 16, 4, 5, 2
NAMES = ("tokens", "norm", "norm bias", "gate", "gate bias", "down", "down bias", "up", "up bias")


def tensors(seed=0, bias=0.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, ROWS // 2, WIDTH), (WIDTH,), (WIDTH,), (EXPERTS, WIDTH), (EXPERTS,)]
    shapes += [(EXPERTS * HIDDEN, WIDTH), (EXPERTS * HIDDEN,), (EXPERTS * HIDDEN, WIDTH), (EXPERTS, WIDTH)]
    found = [torch.randn(shape, generator=generator) for shape in shapes]
    found[4][0] += bias
    return [value.requires_grad_() for value in found]


def plainly(tokens, norm, norm_bias, gate, gate_bias, down, down_bias, up, up_bias):
    normed = F.layer_norm(tokens, (WIDTH,), norm, norm_bias, 1e-5)
    logits = F.linear(normed, gate, gate_bias)
    kept, chosen = logits.topk(ACTIVE, dim=-1)
    weights = kept.softmax(dim=-1)
    mixed = torch.zeros_like(tokens)
    for expert in range(EXPERTS):
        rows = slice(expert * HIDDEN, (expert + 1) * HIDDEN)
        answer = F.relu(F.linear(normed, down[rows], down_bias[rows])) @ up[rows] + up_bias[expert]
        mixed = mixed + ((chosen == expert) * weights).sum(dim=-1, keepdim=True) * answer
    return mixed, logits


def ours(tokens, norm, norm_bias, gate, gate_bias, *experts):
    return routed_mixture(tokens, (norm, norm_bias, 1e-5), (gate, gate_bias), Experts(*experts), ACTIVE)


def loss(mixed, logits):
    weights = torch.linspace(-1, 1, mixed.numel()).view_as(mixed)
    return (mixed * weights).sum() + mixed.square().mean() + (logits.softmax(dim=-1) * torch.arange(EXPERTS)).sum()


@pytest.fixture(params=["_Grouped", "_Wide"])
def form(request, monkeypatch):
    monkeypatch.setattr(module, "_form", lambda tokens: getattr(module, request.param))


@pytest.mark.parametrize("bias", [0.0, 50.0, -50.0])  # at ±50 every row, or none, chooses the first expert
def test_features_and_all_gradients_are_those_of_the_formula(form, bias):
    given, expected = tensors(bias=bias), tensors(bias=bias)
    mixed, logits = ours(*given)
    reference, reference_logits = plainly(*expected)
    assert mixed.shape == given[0].shape and logits.shape == (*given[0].shape[:-1], EXPERTS)
    assert torch.allclose(mixed, reference, atol=1e-5)
    assert torch.allclose(logits, reference_logits, atol=1e-5)
    loss(mixed, logits).backward()
    loss(reference, reference_logits).backward()
    for name, one, other in zip(NAMES, given, expected, strict=True):
        assert (one.grad - other.grad).abs().max() <= 1e-5 * other.grad.abs().max(), name


def test_a_mixture_that_no_loss_reads_still_gives_the_routers_gradient(form):
    given, expected = tensors(), tensors()
    ours(*given)[1].square().sum().backward()
    plainly(*expected)[1].square().sum().backward()
    assert torch.allclose(given[3].grad, expected[3].grad, rtol=1e-5)
    assert torch.allclose(given[0].grad, expected[0].grad, rtol=1e-4, atol=1e-4)


def test_under_autocast_experts_are_bf16_and_routing_is_not(form):
    given, expected = tensors(), tensors()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, logits = ours(*given)
    assert mixed.dtype == torch.bfloat16 and logits.dtype == torch.float32
    reference, reference_logits = plainly(*expected)
    assert torch.equal(logits, ours(*tensors())[1])
    loss(mixed.float(), logits).backward()
    loss(reference, reference_logits).backward()
    for name, one, other in zip(NAMES, given, expected, strict=True):
        assert one.grad.dtype == torch.float32
        assert (one.grad - other.grad).norm() <= 0.03 * other.grad.norm(), name


def test_little_more_than_the_input_is_kept(form):
    given = tensors()
    kept = saved_bytes(lambda: ours(*given), given)
    numbers = ROWS * (2 + 2 * ACTIVE + ACTIVE)  # mean and deviation, the chosen (int64) and their weights
    assert kept == 4 * numbers
    reference = saved_bytes(lambda: plainly(*tensors()), given)
    assert reference > 4 * ROWS * (2 * WIDTH + EXPERTS * HIDDEN)
