"""Activations of a block's MLP that keep no more for the backward pass than they need."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE = 1.702


class _QuickGelu(torch.autograd.Function):
    """x σ(1.702 x) = silu(1.702 x) / 1.702, keeping x alone: written as a product, autograd keeps σ(1.702 x) too."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return F.silu(inputs * _SLOPE, inplace=True).mul_(1 / _SLOPE)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (inputs,) = ctx.saved_tensors
        found: Tensor = torch.ops.aten.silu_backward(gradients[0], inputs * _SLOPE)
        return found


def quick_gelu(inputs: Tensor) -> Tensor:
    """x σ(1.702 x) (Hendrycks & Gimpel 2016, arXiv 1606.08415, as CLIP has it), of any shape."""
    outcome: Tensor = _QuickGelu.apply(inputs)
    return outcome


class LeanQuickGelu(nn.Module):
    """:func:`quick_gelu` as a module."""

    def forward(self, inputs: Tensor) -> Tensor:
        return quick_gelu(inputs)


def lean(activation: nn.Module) -> nn.Module:
    """A module that computes the same; QuickGELU, of open_clip or timm, keeps half as much for the backward pass."""
    return LeanQuickGelu() if type(activation).__name__ == "QuickGELU" else activation
