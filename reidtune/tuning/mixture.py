"""A sparse mixture of adapters with a domain-aware router (DM-Adapter, Liu et al. 2025, arXiv 2503.04144)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component
from reidtune.tuning.experts import Experts, routed_mixture

_GATE_STD = 0.02


class _Layer(nn.Module):
    """E experts d → h → d, stored side by side, and their router."""

    def __init__(self, width: int, hidden: int, experts: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, experts, bias=False)
        self.domain_gate = nn.Linear(width, experts, bias=False)
        self.domain = nn.Parameter(torch.randn(width))
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.down = nn.Linear(width, experts * hidden)
        self.up = nn.Parameter(torch.zeros(experts * hidden, width))
        self.up_bias = nn.Parameter(torch.zeros(experts, width))
        nn.init.normal_(self.gate.weight, std=_GATE_STD)
        nn.init.normal_(self.domain_gate.weight, std=_GATE_STD)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.down.bias)

    def gates(self) -> tuple[Tensor, Tensor]:
        """Weight [E, d] and bias [E] of the logits g(z) = (1 − α) W_in z + α W_task p; the second term is the same for
        every row."""
        with torch.autocast(self.alpha.device.type, enabled=False):
            domain: Tensor = self.domain_gate(self.domain)
            return (1 - self.alpha) * self.gate.weight, self.alpha * domain

    def forward(self, tokens: Tensor, active: int) -> tuple[Tensor, Tensor]:
        """Rows [..., d] → the mixture of ``active`` experts [..., d], and the logits of all [..., E], fp32."""
        norm = (self.norm.weight, self.norm.bias, self.norm.eps)
        experts = Experts(self.down.weight, self.down.bias, self.up, self.up_bias)
        return routed_mixture(tokens, norm, self.gates(), experts, active)


class AdapterMixture(Component):
    """x + MLP(LN x) + s · Σ_{e ∈ top-k} w_e E_e(LN' x) in every block, x the rows after attention.

    E_e is a bottleneck of ``width // reduction`` with ReLU; the router adds to each row's own logits those of a
    learnable domain prompt p, weighed by a learnable α (Eq. of section 3.2 in the paper's code: α is free, not
    clipped). W_up starts at zero, so the start is the backbone. While training, every layer leaves what the
    load-balancing loss needs: Σ_e P̄_e C̄_e, with P̄ the mean softmax of all logits and C̄ the share of rows that
    chose expert e, over all rows, the padding of texts included.
    """

    def __init__(self, tower: Tower, experts: int, active: int, reduction: int, scale: float) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.kind = tower.kind
        self.active = active
        self.scale = scale
        for layer in range(tower.layers):
            self.add_module(str(layer), _Layer(tower.width, tower.width // reduction, experts))

    def reads_all_tokens(self) -> bool:
        return self.training

    def beside_mlp(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        mixed, logits = self._layer(layer)(tokens, self.active)
        if self.training and walk.kept is None:  # else the rows were counted before the pooled one was picked
            self._count(walk, layer, logits)
        added: Tensor = self.scale * mixed
        return added

    def observe(self, walk: Walk, layer: int, tokens: Tensor) -> None:
        part = self._layer(layer)
        weight, bias = part.gates()
        with torch.autocast(tokens.device.type, enabled=False):
            self._count(walk, layer, F.linear(part.norm(tokens.float()), weight, bias))

    def _count(self, walk: Walk, layer: int, logits: Tensor) -> None:
        key = f"mixture/{self.kind}/{layer}"
        rows = logits.flatten(0, -2)
        chosen = rows.topk(self.active, dim=-1).indices
        walk.statistics[f"{key}/probability"] = rows.softmax(dim=-1).sum(dim=0)
        walk.statistics[f"{key}/chosen"] = torch.zeros_like(rows).scatter(-1, chosen, 1.0).sum(dim=0)
        walk.statistics[f"{key}/rows"] = torch.tensor(float(len(rows)), device=rows.device)

    def _layer(self, layer: int) -> _Layer:
        found = self.get_submodule(str(layer))
        assert isinstance(found, _Layer)
        return found

    def auxiliary(self, statistics: dict[str, Tensor]) -> dict[str, Tensor]:
        """``balance``: the sum over this tower's layers; k / E a layer where the load is even."""
        total: Tensor | None = None
        prefix, last = f"mixture/{self.kind}/", "/rows"
        for name in statistics:
            if name.startswith(prefix) and name.endswith(last):
                key = name.removesuffix(last)
                chosen, probability = statistics[f"{key}/chosen"], statistics[f"{key}/probability"]
                layer = (probability * chosen).sum() / statistics[name].square()
                total = layer if total is None else total + layer
        return {} if total is None else {"balance": total}
