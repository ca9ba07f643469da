"""Prompts of a modality and prompts of none: the two kinds of DMPT (Lin et al., WACV 2025, arXiv 2504.10985)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.backbone.image_tower import ImageTower
from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.fusion import modality_of
from reidtune.tuning.component import Component
from reidtune.tuning.prompt_rows import STD


class ModalityPrompts(Component):
    """Modality-specific prompts M_l^m = P_l(A_l^m) + δ_l^m behind the class row of every block, replaced before each.

    A [L, M, rows, d_t] is the ``prior`` of :func:`reidtune.tuning.text_prior.text_prior`, which is not trained and not
    saved: a loaded delta computes it again. P_l is a linear map d_t → d of each block, or one for all (``shared``),
    N(0, 0.02) with bias 0; δ are residuals N(0, 0.02): with zeros, rows that start equal would stay equal. Without a
    prior the prompts are δ alone.
    """

    prior: Tensor | None

    def __init__(
        self, tower: ImageTower, modalities: int, count: int, prior: Tensor | None = None, shared: bool = False
    ) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.count = count
        self.leading = tower.leading
        self.residual = nn.Parameter(torch.randn(tower.layers, modalities, count, tower.width) * STD)
        self.register_buffer("prior", prior, persistent=False)
        self.maps = nn.ModuleList()
        if prior is not None:
            for _ in range(1 if shared else tower.layers):
                linear = nn.Linear(prior.shape[-1], tower.width)
                nn.init.normal_(linear.weight, std=STD)
                nn.init.zeros_(linear.bias)
                self.maps.append(linear)

    def rows(self, layer: int) -> Tensor:
        """The prompts [M, count, d] of a block."""
        rows = self.residual[layer]
        if self.prior is None:
            return rows
        mapped: Tensor = self.maps[layer % len(self.maps)](self.prior[layer])
        return rows + mapped.to(rows.dtype)

    def tokens(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        rows = self.rows(layer)[modality_of(walk)].to(tokens.dtype)
        walk.rows.before = self.count
        patches = tokens[:, self.leading + (self.count if layer else 0) :]
        return torch.cat([tokens[:, : self.leading], rows, patches], dim=1)


class SemanticPrompts(Component):
    """Modality-independent prompts at the end of the sequence, the same for every modality, N(0, 0.02).

    The first ``fresh`` blocks get rows of their own; after that the rows are carried on, with what they have read from
    the image.
    """

    def __init__(self, tower: Tower, count: int, fresh: int) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.prompts = nn.Parameter(torch.randn(fresh, count, tower.width) * STD)

    def tokens(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        if layer >= len(self.prompts):
            return tokens
        rows = self.prompts[layer].to(tokens.dtype).expand(len(tokens), -1, -1)
        walk.rows.behind = rows.shape[1]
        return torch.cat([tokens if layer == 0 else tokens[:, : -rows.shape[1]], rows], dim=1)
