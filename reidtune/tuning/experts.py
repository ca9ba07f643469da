"""A routed mixture of small MLPs, forward and backward by hand: it keeps its input and little else, and computes the
chosen experts alone.

Left to autograd, a layer keeps the normed rows, the hidden units of all experts and those weighed. All of that follows
from the rows that enter, which the block's own LayerNorm keeps anyway, so the backward pass computes it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.tuning.by_hand import by_hand


class Experts(NamedTuple):
    """E experts d → h → d side by side: ``down`` [E · h, d], ``down_bias`` [E · h], ``up`` [E · h, d], ``up_bias``
    [E, d]."""

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor


def routed_mixture(
    tokens: Tensor, norm: tuple[Tensor, Tensor, float], gate: tuple[Tensor, Tensor], experts: Experts, active: int
) -> tuple[Tensor, Tensor]:
    """Σ_{e ∈ top-k} w_e E_e(z) with z = LN(x), E_e(z) = ReLU(z W_down + b_down) W_up + b_up, and w the softmax of the k
    largest of the logits g(z).

    Args:
        tokens: x, [..., d].
        norm: weight and bias [d] of the LayerNorm, and its epsilon.
        gate: weight [E, d] and bias [E]. Logits are computed in its dtype, fp32: routing must not depend on autocast.
        experts: under autocast they compute in its dtype.
        active: k.

    Returns:
        The mixture [..., d] and the logits of all experts [..., E].
    """
    device = tokens.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tokens.dtype
    flat = tokens.flatten(0, -2)
    with torch.autocast(device, enabled=False):
        weight, bias, epsilon = norm
        mixed, logits = _RoutedMixture.apply(flat, weight, bias, *gate, *experts, epsilon, active, dtype)
    return mixed.view(tokens.shape), logits.view(*tokens.shape[:-1], len(gate[1]))


class _RoutedMixture(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        gate: Tensor,
        gate_bias: Tensor,
        down: Tensor,
        down_bias: Tensor,
        up: Tensor,
        up_bias: Tensor,
        epsilon: float,
        active: int,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        normed, mean, rstd = torch.native_layer_norm(
            tokens.to(gate.dtype), tokens.shape[-1:], norm_weight, norm_bias, epsilon
        )
        logits = F.linear(normed, gate, gate_bias)
        largest, chosen = logits.topk(active, dim=-1)
        weights = largest.softmax(dim=-1)
        ctx.save_for_backward(
            tokens, mean, rstd, weights, chosen, norm_weight, norm_bias, gate, down, down_bias, up, up_bias
        )
        ctx.dtype = dtype
        experts = Experts(*(value.to(dtype) for value in (down, down_bias, up, up_bias)))
        return _form(tokens).mix(normed.to(dtype), weights.to(dtype), chosen, experts), logits

    @staticmethod
    @by_hand
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tokens, mean, rstd, weights, chosen, norm_weight, norm_bias, gate, *rest = ctx.saved_tensors
        dtype, whole = ctx.dtype, tokens.to(gate.dtype)
        normed = (whole - mean).mul_(rstd).mul_(norm_weight).add_(norm_bias)
        experts = Experts(*(value.to(dtype) for value in rest))
        back, of_weights, of_experts = _form(tokens).gradients(
            gradients[0].to(dtype), normed.to(dtype), weights.to(dtype), chosen, experts
        )
        of_weights = of_weights.to(gate.dtype)
        of_largest = weights * (of_weights - (weights * of_weights).sum(dim=-1, keepdim=True))
        of_logits = gradients[1].scatter_add(-1, chosen, of_largest)
        of_normed = torch.addmm(back.to(gate.dtype), of_logits, gate)
        of_tokens, of_norm_weight, of_norm_bias = torch.ops.aten.native_layer_norm_backward(
            of_normed, whole, whole.shape[-1:], mean, rstd, norm_weight, norm_bias, [True, True, True]
        )
        return (
            of_tokens.to(tokens.dtype),
            of_norm_weight,
            of_norm_bias,
            of_logits.T @ normed,
            of_logits.sum(dim=0),
            *(value.to(given.dtype) for value, given in zip(of_experts, rest, strict=True)),
            *(None,) * 3,
        )


class _Grouped:
    """Expert by expert, the rows that chose it: the fewest operations. Where rows begin and end is data, which a GPU
    would have to wait for."""

    @staticmethod
    def mix(normed: Tensor, weights: Tensor, chosen: Tensor, experts: Experts) -> Tensor:
        mixed = torch.zeros_like(normed)
        for expert, rows, slots in _groups(chosen, len(experts.up_bias)):
            part = _part(experts, expert)
            own = weights.flatten()[slots, None]
            hidden = F.linear(normed[rows], part.down, part.down_bias).relu_().mul_(own)
            mixed.index_add_(0, rows, torch.addmm(own * part.up_bias, hidden, part.up))
        return mixed

    @staticmethod
    def gradients(
        given: Tensor, normed: Tensor, weights: Tensor, chosen: Tensor, experts: Experts
    ) -> tuple[Tensor, Tensor, Experts]:
        back, of_weights = torch.zeros_like(normed), torch.zeros_like(weights)
        found = Experts(*(torch.zeros_like(value) for value in experts))
        for expert, rows, slots in _groups(chosen, len(experts.up_bias)):
            part, to = _part(experts, expert), _part(found, expert)
            inputs, outer, own = normed[rows], given[rows], weights.flatten()[slots, None]
            hidden = F.linear(inputs, part.down, part.down_bias).relu_()
            of_hidden = outer @ part.up.T
            of_weights.view(-1)[slots] = (of_hidden * hidden).sum(dim=1) + (outer @ part.up_bias.T)[:, 0]
            of_hidden.mul_(own).mul_(hidden > 0)
            to.up.copy_(hidden.mul_(own).T @ outer)
            to.up_bias.copy_(own.T @ outer)
            to.down.copy_(of_hidden.T @ inputs)
            to.down_bias.copy_(of_hidden.sum(dim=0))
            back.index_add_(0, rows, of_hidden @ part.down)
        return back, of_weights, found


class _Wide:
    """One product over all experts, with the weights of those not chosen at zero: nothing depends on data."""

    @staticmethod
    def mix(normed: Tensor, weights: Tensor, chosen: Tensor, experts: Experts) -> Tensor:
        every = _spread(weights, chosen, len(experts.up_bias))
        hidden = F.linear(normed, experts.down, experts.down_bias).relu_()
        _by_expert(hidden, every).mul_(every[..., None])
        return torch.addmm(every @ experts.up_bias, hidden, experts.up)

    @staticmethod
    def gradients(
        given: Tensor, normed: Tensor, weights: Tensor, chosen: Tensor, experts: Experts
    ) -> tuple[Tensor, Tensor, Experts]:
        every = _spread(weights, chosen, len(experts.up_bias))
        hidden = F.linear(normed, experts.down, experts.down_bias).relu_()
        of_hidden = given @ experts.up.T
        of_every = (_by_expert(of_hidden, every) * _by_expert(hidden, every)).sum(dim=-1) + given @ experts.up_bias.T
        _by_expert(of_hidden, every).mul_(every[..., None])
        of_hidden.mul_(hidden > 0)
        _by_expert(hidden, every).mul_(every[..., None])
        found = Experts(of_hidden.T @ normed, of_hidden.sum(dim=0), hidden.T @ given, every.T @ given)
        return of_hidden @ experts.down, of_every.gather(-1, chosen), found


def _form(tokens: Tensor) -> type[_Grouped] | type[_Wide]:
    return _Grouped if tokens.device.type == "cpu" else _Wide


def _groups(chosen: Tensor, experts: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For each expert that a row chose: the rows, and their slots among the flattened ``chosen`` [N, k]."""
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    counts: list[int] = flat.bincount(minlength=experts).tolist()
    for expert, slots in enumerate(torch.split(order, counts)):
        if len(slots):
            yield expert, slots // chosen.shape[-1], slots


def _part(experts: Experts, expert: int) -> Experts:
    """One of them; its ``up_bias`` is [1, d]."""
    hidden = len(experts.down) // len(experts.up_bias)
    rows = slice(expert * hidden, (expert + 1) * hidden)
    return Experts(experts.down[rows], experts.down_bias[rows], experts.up[rows], experts.up_bias[expert : expert + 1])


def _spread(weights: Tensor, chosen: Tensor, experts: int) -> Tensor:
    """Weights [N, k] at the places of their experts, [N, E], zeros elsewhere."""
    return weights.new_zeros(len(weights), experts).scatter_(-1, chosen, weights)


def _by_expert(hidden: Tensor, weights: Tensor) -> Tensor:
    """Hidden units [N, E · h] as [N, E, h]."""
    return hidden.view(*weights.shape, hidden.shape[-1] // weights.shape[-1])
