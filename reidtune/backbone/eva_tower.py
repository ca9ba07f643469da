"""timm's EVA family as image towers: EVA and EVA-02 CLIP, and Meta's Perception Encoder (PE-Core)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reidtune.backbone.positions import rotary_table
from reidtune.backbone.timm_tower import NAMES, TRUNK, TimmTower
from reidtune.backbone.tower import BlockNames
from reidtune.backbone.walk import SiteFunctions, Walk
from reidtune.errors import SettingsError


class EvaTower(TimmTower):
    """EVA (Fang et al. 2023), EVA-02 (Fang et al. 2024) and PE-Core (Bolya et al. 2025): learned and rotary positions,
    gated MLPs, LayerNorms inside attention and MLP, where the model has them. Its attention pool reads all rows.

    Rotary positions turn the queries and keys of patches; those of the leading rows, and of rows that components add,
    stay as they are. On another image size coordinates are scaled to the grid of the pre-training (EVA-02, section
    3.1).
    """

    family = "EVA"
    names_of_parts = BlockNames(**{**vars(NAMES), "scale_1": "gamma_1", "scale_2": "gamma_2"})

    def __init__(self, model: nn.Module, output_width: int) -> None:
        super().__init__(model, output_width)
        self.pools_leading = self.pooling == "attention"
        self.rope: Any = getattr(model.get_submodule(TRUNK), "rope", None)
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}
        if self.rope is not None:
            known = type(self.rope).__name__ == "RotaryEmbeddingCat" and self.rope.grid_type == "index"
            if not known or self.rope.rotate_half or getattr(model.get_submodule(TRUNK), "rope_mixed", False):
                raise SettingsError(f"It has rotary positions of another kind ({type(self.rope).__name__}).")

    def rotated(self, walk: Walk, rows: Tensor) -> Tensor:
        if self.rope is None:
            return rows
        patches = self.patch_rows(walk, rows)
        sine, cosine = self._table(rows.device)
        own = rows[:, patches]
        own = own.reshape(*own.shape[:2], self.heads, -1)
        turned = torch.stack([-own[..., 1::2], own[..., ::2]], dim=-1).flatten(-2)
        own = (own * cosine + turned * sine).to(rows.dtype).flatten(-2)
        return torch.cat([rows[:, : patches.start], own, rows[:, patches.stop :]], dim=1)

    def _table(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Sine and cosine [P, 1, d / heads]."""
        if device not in self._tables:
            reference = self.rope.ref_feat_shape
            table = rotary_table(
                self.grid,
                self.width // self.heads,
                reference=None if reference is None else (int(reference[0]), int(reference[1])),
                offset=float(self.rope.grid_offset),
                columns_first=self.rope.grid_indexing == "xy",
                temperature=float(self.rope.temperature),
            )
            self._tables[device] = (table.sin()[:, None].to(device), table.cos()[:, None].to(device))
        return self._tables[device]


class EvaPostNormTower(EvaTower):
    """EVA-02 E (Sun et al. 2023): the norm comes after attention and MLP, before the sum."""

    family = "EVA, post-norm"

    def attended(self, walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        attended = self.attention(walk, tuner, layer, tokens)
        return self.block_norm(walk, tuner, layer, "ln_1", self.parts.norm_1, attended)

    def hidden(self, walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        hidden = self.mlp(walk, tuner, layer, tokens)
        return self.block_norm(walk, tuner, layer, "ln_2", self.parts.norm_2, hidden)
