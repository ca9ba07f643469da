"""Bottleneck adapters after attention and after the MLP (Houlsby et al., ICML 2019, arXiv 1902.00751)."""

from __future__ import annotations

from torch import Tensor

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.bottleneck import Bottleneck
from reidtune.tuning.component import Component


class SequentialAdapter(Component):
    """x + up(ReLU(down(x))) on the rows after the attention residual and again on those after the MLP's, in every
    block from ``first`` on. ``up`` starts at zero: the start is the backbone."""

    def __init__(self, tower: Tower, hidden: int, scale: float = 1.0, dropout: float = 0.0, first: int = 0) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.scale = scale
        self.dropout = dropout
        self.first = first
        for layer in range(first, tower.layers):
            for place in ("attention", "mlp"):
                self.add_module(f"{layer}_{place}", Bottleneck(tower.width, hidden))

    def attention(self, walk: Walk, layer: int, tokens: Tensor, attended: Tensor) -> Tensor:
        return self._adapted(walk, f"{layer}_attention", tokens)

    def block(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        return self._adapted(walk, f"{layer}_mlp", tokens)

    def _adapted(self, walk: Walk, name: str, tokens: Tensor) -> Tensor:
        adapter = self.get_submodule(name)
        adapted: Tensor = tokens + self.scale * adapter(tokens, walk, self.dropout, f"sequential/{name}")
        return adapted
