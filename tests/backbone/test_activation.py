"""QuickGELU that keeps its input alone."""

import pytest
import torch
from torch import nn

from reidtune.backbone.activation import LeanQuickGelu, lean, quick_gelu
from reidtune.training.memory import saved_bytes


def plainly(inputs):
    return inputs * torch.sigmoid(1.702 * inputs)


@pytest.fixture
def inputs():
    return (4 * torch.randn(5, 7, generator=torch.Generator().manual_seed(0))).requires_grad_()


def test_it_is_the_formula_and_keeps_half(inputs):
    assert torch.allclose(quick_gelu(inputs), plainly(inputs), atol=1e-6)
    assert saved_bytes(lambda: quick_gelu(inputs)) == 4 * inputs.numel()
    assert saved_bytes(lambda: plainly(inputs)) == 8 * inputs.numel()


def test_the_derivative_is_that_of_differences_and_a_second_one_is_refused(inputs):
    double = inputs.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(quick_gelu, [double])
    (first,) = torch.autograd.grad(quick_gelu(double).sum(), [double], create_graph=True)
    with pytest.raises(RuntimeError, match="derivative"):
        first.sum().backward()


def test_in_bf16_and_on_strided_rows(inputs):
    half = inputs.detach().bfloat16().T.requires_grad_()
    found, expected = quick_gelu(half), plainly(inputs.detach().T)
    assert found.dtype == torch.bfloat16 and (found - expected).abs().max() < 1e-2 * expected.abs().max()
    found.sum().backward()
    (whole,) = torch.autograd.grad(plainly(inputs).sum(), [inputs])
    assert (half.grad - whole.T).abs().max() < 2e-2


def test_only_quick_gelu_is_replaced():
    class QuickGELU(nn.Module):
        pass

    gelu = nn.GELU()
    assert lean(gelu) is gelu and isinstance(lean(QuickGELU()), LeanQuickGelu)
