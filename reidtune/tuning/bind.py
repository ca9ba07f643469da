"""PromptIBind: bind rows as the only way from one modality of a sample to another (DMPT, Lin et al., WACV 2025).

The paper's text names the idea; the form here is a reading of it, with the choices in ``FORMS``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.fusion import by_sample, modality_of
from reidtune.tuning.component import Component
from reidtune.tuning.prompt_rows import STD

FORMS = ("free", "mha", "mean")


class PromptBind(Component):
    """After each of ``layers``, the semantic rows Ŝ^m of a sample's modalities meet in bind rows B, and nowhere else:

        gather    B'  = B + A(LN B, LN [Ŝ^1; …; Ŝ^M])
        inverse   S^m = Ŝ^m + A(LN Ŝ^m, LN B')

    LN has no parameters. A(q, k) = softmax(q kᵀ / √d) k (``free``, no parameters), the mean of k (``mean``), or
    multi-head attention with values k (``mha``; one for gathering, one for the inverse, shared by all layers). B are
    ``rows`` rows of each bound layer, N(0, 0.02). The semantic rows are the last ``semantic`` ones of the sequence; a
    missing modality is left out.
    """

    def __init__(self, tower: Tower, semantic: int, rows: int, layers: Sequence[int], form: str = "free") -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.semantic = semantic
        self.places = {layer: place for place, layer in enumerate(layers)}
        self.form = form
        self.rows = nn.Parameter(torch.randn(len(layers), rows, tower.width) * STD)
        if form == "mha":
            self.gather = nn.MultiheadAttention(tower.width, tower.heads, batch_first=True)
            self.inverse = nn.MultiheadAttention(tower.width, tower.heads, batch_first=True)

    def block(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        if layer not in self.places:
            return tokens
        own = tokens[:, -self.semantic :]
        modality = modality_of(walk)
        samples = walk.samples
        assert samples is not None
        count, modalities = int(samples.max()) + 1, int(modality.max()) + 1
        read = by_sample(_normed(own), walk, count, modalities).flatten(1, 2)  # [B, M · S, d]
        there = by_sample(torch.ones_like(own[..., 0]), walk, count, modalities).flatten(1).bool()
        bind = self.rows[self.places[layer]].to(tokens.dtype).expand(count, -1, -1)
        bind = bind + self._attend("gather", _normed(bind), read, there)
        all_there = there.new_ones(len(own), bind.shape[1])
        bound = own + self._attend("inverse", _normed(own), _normed(bind)[samples], all_there)
        return torch.cat([tokens[:, : -self.semantic], bound.to(tokens.dtype)], dim=1)

    def _attend(self, name: str, query: Tensor, key: Tensor, there: Tensor) -> Tensor:
        """Queries [B, Q, d] and keys [B, K, d], of which ``there`` [B, K] exist → [B, Q, d]."""
        if self.form == "mha":
            module = self.get_submodule(name)
            mixed: Tensor = module(query, key, key, key_padding_mask=~there, need_weights=False)[0]
            return mixed
        if self.form == "mean":
            weights = there.to(key.dtype)[:, None]
            return (weights @ key / weights.sum(-1, keepdim=True)).expand_as(query)
        return F.scaled_dot_product_attention(query, key, key, attn_mask=there[:, None])


def _normed(rows: Tensor) -> Tensor:
    return F.layer_norm(rows, rows.shape[-1:])
