"""Synergistic residual prompts: prompt rows of all modalities in the sequence of each (MambaPro, Wang et al. 2025,
arXiv 2412.10707)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.fusion import modality_of
from reidtune.tuning.component import Component
from reidtune.tuning.feed_forward_adapter import STD, FeedForward


class SynergisticPrompts(Component):
    """M groups of ``count`` rows at the end of the sequence, one a modality, replaced before every block.

    With P_l^m the learnable rows of block l and modality m, an image of modality m gets in block l

        group m         r + T_l(r) + P_l^m, r the mean of the M groups that left block l − 1; in block 0: P_0^m
        group m' ≠ m    P_l^m' + S_l^m'(P_l^m')

    T_l (``transfer``) and S_l^m' (``between``, by source modality) are perceptrons d → d/2 → d. A modality thus learns
    from the prompts of the others, which do not depend on the others' images. No tensor is held that has no use: T_0,
    which the public code has, and S of a single modality.

    P start at zero, as in the public code; the ``count`` rows of a group are then equal and, since every map acts on
    rows alike, get equal gradients: they stay equal. ``start`` ``normal`` is N(0, 0.02), with which they differ.
    """

    def __init__(self, tower: Tower, modalities: int, count: int, start: str = "zeros") -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.groups = (modalities, count)
        shape = (tower.layers, modalities, count, tower.width)
        self.prompts = nn.Parameter(torch.zeros(shape) if start == "zeros" else torch.randn(shape) * STD)

        def perceptron() -> FeedForward:
            return FeedForward(tower.width, tower.width // 2)

        self.transfer = nn.ModuleDict({str(layer): perceptron() for layer in range(1, tower.layers)})
        self.between = nn.ModuleList(
            nn.ModuleList(perceptron() for _ in range(modalities)) for _ in range(tower.layers if modalities > 1 else 0)
        )

    def tokens(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        prompts, modality = self.prompts[layer], modality_of(walk)
        own = prompts[modality]  # [n, count, d]
        if layer:
            length = self.groups[0] * self.groups[1]
            carried = tokens[:, -length:].reshape(len(tokens), *self.groups, -1).mean(1)
            tokens = tokens[:, :-length]
            own = carried + self.transfer[str(layer)](carried) + own
        place = torch.arange(len(prompts), device=modality.device) == modality[:, None]
        walk.rows.behind = self.groups[0] * self.groups[1]
        groups = torch.where(place[..., None, None], own[:, None], self._given(layer, prompts).to(own.dtype))
        return torch.cat([tokens, groups.flatten(1, 2).to(tokens.dtype)], dim=1)

    def _given(self, layer: int, prompts: Tensor) -> Tensor:
        """What each modality gives to the others, [M, count, d]."""
        if not self.between:
            return prompts
        maps: nn.ModuleList = self.between[layer]  # type: ignore[assignment]
        return torch.stack([own + map_(own) for own, map_ in zip(prompts, maps, strict=True)])
