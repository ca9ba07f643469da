"""open_clip's own image towers: CLIP's, and those that pool the mean of the patches or by attention."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.image_tower import LAST, ImageTower
from reidtune.backbone.linears import open_clip_linears
from reidtune.backbone.tower import BlockNames
from reidtune.backbone.walk import SiteFunctions, Walk

NAMES = BlockNames(
    norm_1="ln_1",
    norm_2="ln_2",
    scale_1="ls_1.gamma",
    scale_2="ls_2.gamma",
    query_norm="attn.ln_q",
    key_norm="attn.ln_k",
    attn_norm="attn.ln_inner",
    mlp_norm="mlp.ln",
    activation="mlp.gelu",
)
_BLOCKS = "visual.transformer.resblocks"


class OpenClipTower(ImageTower):
    """CLIP's vision transformer (Radford et al. 2021): a class row, learned positions, pre-norm blocks, a projection.

    ``config``: ``layers``, ``heads``, ``grid``, ``patch``, and where they differ from CLIP's ``pool`` (``tok``: the
    class row; ``avg``: the mean of the patches, CLIPA, Li et al. 2023), ``norm_after_pool``, ``attention_heads`` (heads
    of an attention pool, CoCa, Yu et al. 2022, whose first query is the feature).
    """

    family = "open_clip ViT"
    projection = "visual.proj"
    last_norm = "visual.ln_post"
    front = ("visual.class_embedding", "visual.positional_embedding", "visual.conv1.", "visual.ln_pre.")

    def __init__(self, model: nn.Module, config: dict[str, Any], output_width: int) -> None:
        parameters = dict(model.named_parameters())
        linears = open_clip_linears(parameters, f"{_BLOCKS}.0")
        super().__init__(
            model,
            _BLOCKS,
            NAMES,
            linears,
            config["layers"],
            config["heads"],
            output_width,
            config["grid"],
            config["patch"],
        )
        self.leading = self.position_rows = 1
        self.positions = "visual.positional_embedding"
        self.patch_weight = "visual.conv1.weight"
        self.attention_heads: int = config.get("attention_heads", 0)
        self.norm_after_pool: bool = config.get("norm_after_pool", False)
        self.mean: bool = config.get("pool", "tok") == "avg"
        self.pooling = "attention" if self.attention_heads else "mean" if self.mean else "cls"

    def variant(self) -> str:
        return f"{super().variant()}, norm after pool" if self.norm_after_pool else super().variant()

    def leading_rows(self, walk: Walk, tuner: SiteFunctions) -> list[Tensor]:
        return [self.weight(walk, tuner, "visual.class_embedding").view(1, 1, -1)]

    def before_blocks(self, walk: Walk, tuner: SiteFunctions, tokens: Tensor) -> Tensor:
        name = "visual.ln_pre"
        return self.norm(walk, tuner, -1, "ln_pre", name, tokens) if name in self.epsilons else tokens

    def pooled(self, walk: Walk, tuner: SiteFunctions, tokens: Tensor) -> Tensor:
        if self.attention_heads:
            rows = self._last_norm(walk, tuner, self._queried(walk, tuner, self.own_rows(walk, tokens)))
            rows = rows[:, 1:].mean(dim=1) if self.mean else rows[:, 0]
        elif not self.mean:
            rows = self._last_norm(walk, tuner, tokens[:, 0])
        elif self.norm_after_pool:
            rows = self._last_norm(walk, tuner, tokens[:, self.patch_rows(walk, tokens)].mean(dim=1))
        else:
            rows = self._last_norm(walk, tuner, tokens[:, self.patch_rows(walk, tokens)]).mean(dim=1)
        return rows @ self.weight(walk, tuner, "visual.proj")

    def _last_norm(self, walk: Walk, tuner: SiteFunctions, rows: Tensor) -> Tensor:
        return self.norm(walk, tuner, self.layers, LAST, self.last_norm, rows)

    def _queried(self, walk: Walk, tuner: SiteFunctions, rows: Tensor) -> Tensor:
        """Attention of learned queries to the rows [B, N, d] → [B, Q, D]."""
        pool = "visual.attn_pool"
        rows = self.norm(walk, tuner, self.layers, "ln_pool", f"{pool}.ln_k", rows)
        queries = self.weight(walk, tuner, f"{pool}.query")
        queries = self.norm(walk, tuner, self.layers, "ln_pool_query", f"{pool}.ln_q", queries)
        if f"{pool}.attn.in_proj_weight" in self.parameters:  # equal widths
            weights = self.weight(walk, tuner, f"{pool}.attn.in_proj_weight").chunk(3)
        else:
            weights = tuple(self.weight(walk, tuner, f"{pool}.attn.{name}_proj_weight") for name in "qkv")
        biases = self.weight(walk, tuner, f"{pool}.attn.in_proj_bias").chunk(3)
        inputs = (queries.expand(len(rows), -1, -1), rows, rows)
        query, key, value = (
            F.linear(own, weight, bias).reshape(len(rows), own.shape[1], self.attention_heads, -1).transpose(1, 2)
            for own, weight, bias in zip(inputs, weights, biases, strict=True)
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return F.linear(
            mixed,
            self.weight(walk, tuner, f"{pool}.attn.out_proj.weight"),
            self.weight(walk, tuner, f"{pool}.attn.out_proj.bias"),
        )
