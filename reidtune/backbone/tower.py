"""One encoder of the backbone as embed → blocks → pool, with named sites. Reads the open_clip model's own weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.walk import SiteFunctions, Walk


class Tower:
    """A frozen encoder whose walk through the blocks is ours, so that a tuner can act at every site.

    Parameters are looked up by their state-dict names, never by module class: open_clip 3 holds
    ``nn.MultiheadAttention`` and open_clip 4 an attention of its own, both with these names. The open_clip model is
    neither modified nor patched. With an empty tuner the features equal ``encode_image`` / ``encode_text``.

    Attributes: ``kind`` (``image`` | ``text``), ``width`` d, ``layers`` L, ``heads``, ``output_width`` D and
    ``prefix`` (the state-dict prefix of the tower's own parameters).
    """

    kind: str
    prefix: str
    causal: bool

    def __init__(self, model: nn.Module, transformer: str, config: dict[str, Any], output_width: int) -> None:
        self.parameters = dict(model.named_parameters())
        self.blocks = f"{transformer}.resblocks"
        self.width: int = config["width"]
        self.layers: int = config["layers"]
        self.heads: int = config["heads"]
        self.output_width = output_width
        first = model.get_submodule(f"{self.blocks}.0")
        self.activation: nn.Module = first.get_submodule("mlp.gelu")
        self.epsilon: float = first.get_submodule("ln_1").eps  # type: ignore[assignment]

    def names(self) -> list[str]:
        """State-dict names of the parameters that make this tower's features, in order."""
        raise NotImplementedError

    def linear_shape(self, name: str) -> tuple[int, int]:
        """``(in, out)`` of the linear map ``q``, ``k``, ``v``, ``out``, ``fc1`` or ``fc2`` (equal in all blocks)."""
        hidden = self.parameters[f"{self.blocks}.0.mlp.c_fc.weight"].shape[0]
        shapes = {"fc1": (self.width, hidden), "fc2": (hidden, self.width)}
        return shapes.get(name, (self.width, self.width))

    def weight(self, walk: Walk, tuner: SiteFunctions, name: str) -> Tensor:
        return tuner.weight(walk, name, self.parameters[name])

    def run_blocks(self, walk: Walk, tuner: SiteFunctions, tokens: Tensor) -> Tensor:
        """Rows [B, N, d] through all blocks. Pre-norm residual blocks (CLIP, Radford et al. 2021)."""
        for layer in range(self.layers):
            block = f"{self.blocks}.{layer}"
            tokens = tuner.tokens(walk, layer, tokens)
            attended = self._attention(walk, tuner, layer, self._norm(walk, tuner, layer, f"{block}.ln_1", tokens))
            attended = self._layer_scale(walk, tuner, f"{block}.ls_1.gamma", attended)
            tokens = tuner.attention(walk, layer, tokens + attended, attended)
            hidden = self._mlp(walk, tuner, layer, self._norm(walk, tuner, layer, f"{block}.ln_2", tokens))
            hidden = self._layer_scale(walk, tuner, f"{block}.ls_2.gamma", hidden)
            beside = tuner.beside_mlp(walk, layer, tokens)
            tokens = tokens + hidden if beside is None else tokens + hidden + beside
            tokens = tuner.block(walk, layer, tokens)
        return tokens

    def _attention(self, walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        attention = f"{self.blocks}.{layer}.attn"
        stacked = F.linear(
            tokens,
            self.weight(walk, tuner, f"{attention}.in_proj_weight"),
            self.weight(walk, tuner, f"{attention}.in_proj_bias"),
        )
        query, key, value = (
            tuner.linear(walk, layer, name, tokens, part)
            for name, part in zip(("q", "k", "v"), stacked.chunk(3, dim=-1), strict=True)
        )
        key, value = tuner.key_value(walk, layer, key, value)
        extra = key.shape[1] - query.shape[1]
        mask = _causal_mask(query.shape[1], extra, query.device) if self.causal and extra else None
        mixed = F.scaled_dot_product_attention(
            self._split_heads(query),
            self._split_heads(key),
            self._split_heads(value),
            attn_mask=mask,
            is_causal=self.causal and not extra,
        )
        mixed = mixed.transpose(1, 2).flatten(2)
        output = F.linear(
            mixed,
            self.weight(walk, tuner, f"{attention}.out_proj.weight"),
            self.weight(walk, tuner, f"{attention}.out_proj.bias"),
        )
        return tuner.linear(walk, layer, "out", mixed, output)

    def _mlp(self, walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        mlp = f"{self.blocks}.{layer}.mlp"
        hidden = F.linear(
            tokens,
            self.weight(walk, tuner, f"{mlp}.c_fc.weight"),
            self.weight(walk, tuner, f"{mlp}.c_fc.bias"),
        )
        hidden = self.activation(tuner.linear(walk, layer, "fc1", tokens, hidden))
        output = F.linear(
            hidden,
            self.weight(walk, tuner, f"{mlp}.c_proj.weight"),
            self.weight(walk, tuner, f"{mlp}.c_proj.bias"),
        )
        return tuner.linear(walk, layer, "fc2", hidden, output)

    def _norm(self, walk: Walk, tuner: SiteFunctions, layer: int, name: str, tokens: Tensor) -> Tensor:
        normed = F.layer_norm(
            tokens,
            (tokens.shape[-1],),
            self.weight(walk, tuner, f"{name}.weight"),
            self.weight(walk, tuner, f"{name}.bias"),
            self.epsilon,
        )
        return tuner.norm(walk, layer, name.rsplit(".", 1)[-1], tokens, normed)

    def _layer_scale(self, walk: Walk, tuner: SiteFunctions, name: str, tokens: Tensor) -> Tensor:
        return tokens * self.weight(walk, tuner, name) if name in self.parameters else tokens

    def _split_heads(self, tokens: Tensor) -> Tensor:
        """[B, N, d] → [B, heads, N, d / heads]"""
        batch, rows, width = tokens.shape
        return tokens.view(batch, rows, self.heads, width // self.heads).transpose(1, 2)


class ImageTower(Tower):
    """Images [B, 3, H, W], normalised → features [B, D]. The class row is row 0 and is what is pooled."""

    kind = "image"
    prefix = "visual."
    causal = False

    def __init__(self, model: nn.Module, config: dict[str, Any], output_width: int) -> None:
        super().__init__(model, "visual.transformer", config, output_width)
        self.grid: tuple[int, int] = config["grid"]
        self.patch: tuple[int, int] = config["patch"]

    def names(self) -> list[str]:
        return [name for name in self.parameters if name.startswith("visual.")]

    def __call__(self, images: Tensor, tuner: SiteFunctions, walk: Walk | None = None) -> Tensor:
        walk = walk or Walk()
        walk.tower = self
        patches = F.conv2d(images, self.weight(walk, tuner, "visual.conv1.weight"), stride=self.patch)
        patches = patches.flatten(2).transpose(1, 2)
        cls = self.weight(walk, tuner, "visual.class_embedding").expand(len(images), 1, -1)
        tokens = torch.cat([cls.to(patches.dtype), patches], dim=1)
        tokens = tuner.embed(walk, "before_positions", tokens)
        tokens = tokens + self.weight(walk, tuner, "visual.positional_embedding")
        tokens = tuner.embed(walk, "after_positions", tokens)
        if "visual.ln_pre.weight" in self.parameters:
            tokens = self._norm(walk, tuner, -1, "visual.ln_pre", tokens)
        tokens = tuner.embed(walk, "after_ln_pre", tokens)
        tokens = self.run_blocks(walk, tuner, tokens)
        feature = self.project(walk, tuner, tokens[:, 0])
        return tuner.pool(walk, tokens, feature)

    def project(self, walk: Walk, tuner: SiteFunctions, rows: Tensor) -> Tensor:
        """``ln_post`` and the projection of rows [..., d] → [..., D]."""
        rows = self._norm(walk, tuner, self.layers, "visual.ln_post", rows)
        return rows @ self.weight(walk, tuner, "visual.proj")


class TextTower(Tower):
    """Token ids [B, T] → features [B, D]. Causal; the row of the largest id (EOS) is pooled.

    Columns behind the last end token of the batch are left out unless the tuner reads them."""

    kind = "text"
    prefix = ""
    causal = True

    def __init__(self, model: nn.Module, config: dict[str, Any], output_width: int) -> None:
        super().__init__(model, "transformer", config, output_width)
        self.context: int = config["context"]

    def names(self) -> list[str]:
        unrelated = ("visual.", "logit_")
        return [name for name in self.parameters if not name.startswith(unrelated)]

    def __call__(self, ids: Tensor, tuner: SiteFunctions, walk: Walk | None = None) -> Tensor:
        walk = walk or Walk()
        walk.tower = self
        if not tuner.reads_all_tokens(walk):  # rows after the last end token cannot reach it: attention is causal
            ids = ids[:, : int(ids.argmax(dim=-1).max()) + 1]
        walk.ids = ids
        tokens = F.embedding(ids, self.weight(walk, tuner, "token_embedding.weight"))
        tokens = tuner.embed(walk, "before_positions", tokens)
        tokens = tokens + self.weight(walk, tuner, "positional_embedding")[: tokens.shape[1]]
        tokens = tuner.embed(walk, "after_positions", tokens)
        tokens = self.run_blocks(walk, tuner, tokens)
        end = (ids if walk.ids is None else walk.ids).argmax(dim=-1)
        feature = self.project(walk, tuner, tokens[torch.arange(len(tokens), device=tokens.device), end])
        return tuner.pool(walk, tokens, feature)

    def project(self, walk: Walk, tuner: SiteFunctions, rows: Tensor) -> Tensor:
        """``ln_final`` and the projection of rows [..., d] → [..., D]."""
        rows = self._norm(walk, tuner, self.layers, "ln_final", rows)
        return rows @ self.weight(walk, tuner, "text_projection")


def _causal_mask(length: int, extra: int, device: torch.device) -> Tensor:
    """Boolean [length, extra + length], true where a query may look: all extra rows, and rows up to its own."""
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return torch.cat([torch.ones(length, extra, dtype=torch.bool, device=device), causal], dim=1)
