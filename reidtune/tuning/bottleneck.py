"""The bottleneck that adapters share: down, ReLU, up."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.walk import Walk
from reidtune.tuning.by_hand import by_hand
from reidtune.tuning.dropout import row_dropout

NORMAL_STD = 0.02


class Bottleneck(nn.Module):
    """d → ``hidden`` → d. ``start`` ``zero``: down kaiming-uniform (a = √5), up zero, so that it adds nothing;
    ``normal``: both N(0, 0.02). Biases start at zero."""

    def __init__(self, width: int, hidden: int, start: str = "zero", norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else None
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        if start == "zero":
            nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
            nn.init.zeros_(self.up.weight)
        else:
            nn.init.normal_(self.down.weight, std=NORMAL_STD)
            nn.init.normal_(self.up.weight, std=NORMAL_STD)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor, walk: Walk, dropout: float = 0.0, place: str = "") -> Tensor:
        """Rows [..., d] → [..., d]; dropout acts on the bottleneck while training."""
        if self.norm is not None and not (dropout and self.training):
            return self._lean(tokens)
        if self.norm is not None:
            tokens = self.norm(tokens)
        hidden = F.relu(self.down(tokens))
        if self.training:
            hidden = row_dropout(hidden, dropout, walk, place)
        outcome: Tensor = self.up(hidden)
        return outcome

    def _lean(self, tokens: Tensor) -> Tensor:
        """The same without dropout; autograd keeps the rows alone, which the block's own LayerNorm keeps as well."""
        assert self.norm is not None
        device = tokens.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tokens.dtype
        with torch.autocast(device, enabled=False):
            weights = (self.norm.weight, self.norm.bias, *self.down.parameters(), *self.up.parameters())
            added: Tensor = _NormedBottleneck.apply(tokens.flatten(0, -2), *weights, self.norm.eps, dtype)
        return added.view(tokens.shape)


class _NormedBottleneck(torch.autograd.Function):
    """up(ReLU(down(LN(x)))) of rows [N, d]; what lies between is computed again for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        norm: Tensor,
        norm_bias: Tensor,
        down: Tensor,
        down_bias: Tensor,
        up: Tensor,
        up_bias: Tensor,
        epsilon: float,
        dtype: torch.dtype,
    ) -> Tensor:
        normed, mean, rstd = torch.native_layer_norm(tokens.to(norm.dtype), tokens.shape[-1:], norm, norm_bias, epsilon)
        ctx.save_for_backward(tokens, mean, rstd, norm, norm_bias, down, down_bias, up)
        ctx.dtype = dtype
        hidden = F.linear(normed.to(dtype), down.to(dtype), down_bias.to(dtype)).relu_()
        return F.linear(hidden, up.to(dtype), up_bias.to(dtype))

    @staticmethod
    @by_hand
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tokens, mean, rstd, norm, norm_bias, *rest = ctx.saved_tensors
        down, down_bias, up = (value.to(ctx.dtype) for value in rest)
        given, whole = gradients[0].to(ctx.dtype), tokens.to(norm.dtype)
        normed = (whole - mean).mul_(rstd).mul_(norm).add_(norm_bias).to(ctx.dtype)
        hidden = F.linear(normed, down, down_bias).relu_()
        of_hidden = (given @ up).mul_(hidden > 0)
        of_tokens, of_norm, of_norm_bias = torch.ops.aten.native_layer_norm_backward(
            (of_hidden @ down).to(norm.dtype), whole, whole.shape[-1:], mean, rstd, norm, norm_bias, [True, True, True]
        )
        of_weights = (of_hidden.T @ normed, of_hidden.sum(dim=0), given.T @ hidden, given.sum(dim=0))
        return (
            of_tokens.to(tokens.dtype),
            of_norm,
            of_norm_bias,
            *(value.to(norm.dtype) for value in of_weights),
            None,
            None,
        )
