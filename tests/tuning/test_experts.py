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


def test_gradients_in_double_precision_are_those_of_differences(form):
    given = [value.detach().double().requires_grad_() for value in tensors()]
    assert torch.autograd.gradcheck(ours, given)


def test_rows_may_be_strided_or_none(form):
    given, expected = tensors(), tensors()
    strided = given[0].detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    loss(*ours(strided, *given[1:])).backward()
    loss(*plainly(*expected)).backward()
    assert torch.allclose(strided.grad, expected[0].grad, rtol=1e-4, atol=1e-5)
    none = torch.zeros(0, 7, WIDTH, requires_grad=True)
    mixed, logits = ours(none, *given[1:])
    assert mixed.shape == (0, 7, WIDTH) and logits.shape == (0, 7, EXPERTS)
    (mixed.sum() + logits.sum()).backward()


@pytest.mark.parametrize("learning", [["gate"], ["down", "up"], ["tokens"], ["norm bias"]])
def test_what_does_not_learn_gets_no_gradient(form, learning):
    given, expected = tensors(), tensors()
    for name, one in zip(NAMES, given, strict=True):
        one.requires_grad_(name in learning)
    loss(*ours(*given)).backward()
    loss(*plainly(*expected)).backward()
    for name, one, other in zip(NAMES, given, expected, strict=True):
        assert (one.grad is None) == (name not in learning)
        assert one.grad is None or (one.grad - other.grad).abs().max() <= 1e-5 * other.grad.abs().max()


def test_all_experts_may_be_active(form):
    given = tensors()
    mixed, _ = routed_mixture(given[0], (*given[1:3], 1e-5), tuple(given[3:5]), Experts(*given[5:]), EXPERTS)
    normed = F.layer_norm(given[0], (WIDTH,), given[1], given[2], 1e-5)
    weights = F.linear(normed, *given[3:5]).softmax(dim=-1)
    answers = [
        F.relu(F.linear(normed, down, bias)) @ up + up_bias
        for down, bias, up, up_bias in zip(
            *(v.view(EXPERTS, -1, *v.shape[1:]) for v in given[5:8]), given[8], strict=True
        )
    ]
    expected = (torch.stack(answers, dim=-1) * weights[..., None, :]).sum(dim=-1)
    assert torch.allclose(mixed, expected, atol=1e-5)


def test_a_second_derivative_is_refused_and_not_wrong(form):
    given = tensors()
    (first,) = torch.autograd.grad(ours(*given)[0].square().sum(), given[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()
