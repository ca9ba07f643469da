"""Bottleneck adapters parallel to the MLP (AdaptFormer, Chen et al. 2022, arXiv 2205.13535)."""

from __future__ import annotations

from torch import Tensor

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.bottleneck import Bottleneck
from reidtune.tuning.component import Component


class ParallelAdapter(Component):
    """x + MLP(LN x) + s · up(ReLU(down(x))) in every block from ``first`` on, x the rows after attention.

    ``hidden`` is the bottleneck width. With ``norm`` the adapter reads LN'(x), a LayerNorm of its own (the dual
    adapters of CSKT, Liu et al. 2024). ``start`` is that of :class:`Bottleneck`; with ``zero`` the start is the
    backbone.
    """

    def __init__(
        self,
        tower: Tower,
        hidden: int,
        scale: float = 0.1,
        dropout: float = 0.0,
        norm: bool = False,
        start: str = "zero",
        first: int = 0,
    ) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.scale = scale
        self.dropout = dropout
        self.first = first
        for layer in range(first, tower.layers):
            self.add_module(str(layer), Bottleneck(tower.width, hidden, start, norm))

    def beside_mlp(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        adapter = self.get_submodule(str(layer))
        added: Tensor = self.scale * adapter(tokens, walk, self.dropout, f"adapter/{layer}")
        return added
