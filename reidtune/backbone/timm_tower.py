"""Vision transformers of timm as image towers, behind open_clip's adapter: SigLIP, MobileCLIP, ViTamin and others.

Those of the EVA family are in :mod:`reidtune.backbone.eva_tower`.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from reidtune.backbone.image_tower import LAST, ImageTower
from reidtune.backbone.linears import timm_linears
from reidtune.backbone.tower import BlockNames
from reidtune.backbone.walk import SiteFunctions, Walk
from reidtune.errors import SettingsError

TRUNK = "visual.trunk"
NAMES = BlockNames(
    norm_1="norm1",
    norm_2="norm2",
    scale_1="ls1.gamma",
    scale_2="ls2.gamma",
    query_norm="attn.q_norm",
    key_norm="attn.k_norm",
    attn_norm="attn.norm",
    mlp_norm="mlp.norm",
    activation="mlp.act",
)
_POOLING = {"token": "cls", "avg": "mean", "map": "attention"}
_HEADS = (f"{TRUNK}.head", "visual.head.proj", "visual.head.mlp.fc2")
_POOL = f"{TRUNK}.attn_pool"
_POOL_LINEARS = ("q", "kv", "proj", "mlp.fc1", "mlp.fc2")


class TimmTower(ImageTower):
    """timm's ``VisionTransformer`` (Dosovitskiy et al. 2021; SigLIP, Zhai et al. 2023).

    It may lack the class row, have registers, give no position to its leading rows, and pool the class row, the mean of
    the patches, or by attention of one learned query and a perceptron (``map``, Zhai et al. 2022). The feature is the
    pooled row, after the trunk's classifier or the adapter's projection where there is one.

    Raises:
        SettingsError: the trunk has parts that this walk does not know; the first is named.
    """

    family = "timm ViT"
    names_of_parts = NAMES
    front = tuple(f"{TRUNK}.{name}" for name in ("cls_token", "reg_token", "pos_embed", "patch_embed.", "norm_pre."))

    def __init__(self, model: nn.Module, output_width: int) -> None:
        trunk: Any = model.get_submodule(TRUNK)
        parameters = dict(model.named_parameters())
        blocks = f"{TRUNK}.blocks"
        try:
            linears = timm_linears(parameters, f"{blocks}.0")
        except KeyError as error:
            raise SettingsError(f"Its blocks have no {str(error).strip(chr(39))}.") from error
        super().__init__(
            model,
            blocks,
            self.names_of_parts,
            linears,
            len(trunk.blocks),
            trunk.blocks[0].attn.num_heads,
            output_width,
            tuple(trunk.patch_embed.grid_size),
            tuple(trunk.patch_embed.feat_ratio(as_scalar=False)),
        )
        if trunk.global_pool not in _POOLING:
            raise SettingsError(f'It pools by "{trunk.global_pool}".')
        self.pooling = _POOLING[trunk.global_pool]
        self.leading = trunk.num_prefix_tokens
        self.positions = self._held(f"{TRUNK}.pos_embed")
        self.position_rows = 0 if trunk.no_embed_class else self.leading
        self.pools_leading = bool(getattr(trunk, "pool_include_prefix", False))
        self.patch_weight = f"{TRUNK}.patch_embed.proj.weight"
        norms = [name for name in (f"{TRUNK}.fc_norm", f"{TRUNK}.norm") if name in self.epsilons]
        if not norms:
            raise SettingsError("It has no LayerNorm behind its blocks.")
        self.last_norm = norms[0]
        heads = [f"{name}.weight" for name in _HEADS if f"{name}.weight" in self.parameters]
        self.projection = heads[-1] if heads else None
        self.activations = {
            name: model.get_submodule(f"{name}.act")
            for name in (f"{_POOL}.mlp", "visual.head.mlp")
            if f"{name}.fc1.weight" in self.parameters
        }
        self.pool_heads: int = trunk.attn_pool.num_heads if self.pooling == "attention" else 0
        if unknown := sorted(set(self.names()) - self._walked()):
            raise SettingsError(f"It has {unknown[0].removeprefix(TRUNK + '.')}.")

    def leading_rows(self, walk: Walk, tuner: SiteFunctions) -> list[Tensor]:
        names = (f"{TRUNK}.cls_token", f"{TRUNK}.reg_token")
        return [self.weight(walk, tuner, name) for name in names if name in self.parameters]

    def before_blocks(self, walk: Walk, tuner: SiteFunctions, tokens: Tensor) -> Tensor:
        return self._norm(walk, tuner, -1, "ln_pre", f"{TRUNK}.norm_pre", tokens)

    def pooled(self, walk: Walk, tuner: SiteFunctions, tokens: Tensor) -> Tensor:
        if self.pooling == "cls":
            rows = tokens[:, 0]
        elif self.pools_leading:
            rows = self.own_rows(walk, tokens)
        else:
            rows = tokens[:, self.patch_rows(walk, tokens)]
        norm, after = f"{TRUNK}.norm", f"{TRUNK}.fc_norm"
        rows = self._norm(walk, tuner, self.layers, LAST if norm == self.last_norm else "ln_end", norm, rows)
        if self.pooling == "attention":
            rows = self._queried(walk, tuner, rows)
        elif self.pooling == "mean":
            rows = rows.mean(dim=1)
        rows = self._norm(walk, tuner, self.layers, LAST, after, rows)
        rows = self._linear(walk, tuner, f"{TRUNK}.head", rows)
        rows = self._linear(walk, tuner, "visual.head.proj", rows)
        return self._perceptron(walk, tuner, "visual.head.mlp", rows)

    def _queried(self, walk: Walk, tuner: SiteFunctions, rows: Tensor) -> Tensor:
        """Attention of the learned query to the rows [B, N, d], and a perceptron beside the outcome → [B, d]."""
        query = self._linear(walk, tuner, f"{_POOL}.q", self.weight(walk, tuner, f"{_POOL}.latent"))
        key, value = self._linear(walk, tuner, f"{_POOL}.kv", rows).chunk(2, dim=-1)
        query, key, value = (
            part.reshape(len(rows), part.shape[1], self.pool_heads, -1).transpose(1, 2)
            for part in (query.expand(len(rows), -1, -1), key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)[:, 0]
        mixed = self._linear(walk, tuner, f"{_POOL}.proj", mixed)
        normed = self._norm(walk, tuner, self.layers, "ln_pool", f"{_POOL}.norm", mixed)
        return mixed + self._perceptron(walk, tuner, f"{_POOL}.mlp", normed)

    def _norm(self, walk: Walk, tuner: SiteFunctions, layer: int, site: str, name: str, rows: Tensor) -> Tensor:
        return self.norm(walk, tuner, layer, site, name, rows) if name in self.epsilons else rows

    def _linear(self, walk: Walk, tuner: SiteFunctions, name: str, rows: Tensor) -> Tensor:
        """A linear map outside the blocks; the rows themselves where there is none of that name."""
        if f"{name}.weight" not in self.parameters:
            return rows
        bias = self._held(f"{name}.bias")
        return F.linear(
            rows,
            self.weight(walk, tuner, f"{name}.weight"),
            None if bias is None else self.weight(walk, tuner, bias),
        )

    def _perceptron(self, walk: Walk, tuner: SiteFunctions, name: str, rows: Tensor) -> Tensor:
        if name not in self.activations:
            return rows
        hidden = self.activations[name](self._linear(walk, tuner, f"{name}.fc1", rows))
        return self._linear(walk, tuner, f"{name}.fc2", hidden)

    def _held(self, name: str) -> str | None:
        return name if name in self.parameters else None

    def _walked(self) -> set[str]:
        """Names of all parameters that this walk uses, were they there."""
        parts = self.parts
        outside = [f"{TRUNK}.{name}" for name in ("norm_pre", "norm", "fc_norm", "patch_embed.proj")]
        outside += [*_HEADS, "visual.head.mlp.fc1", f"{_POOL}.norm", *(f"{_POOL}.{name}" for name in _POOL_LINEARS)]
        found = {f"{TRUNK}.{name}" for name in ("cls_token", "reg_token", "pos_embed", "attn_pool.latent")}
        for layer in range(self.layers):
            block = f"{self.blocks}.{layer}"
            norms = (parts.norm_1, parts.norm_2, parts.query_norm, parts.key_norm, parts.attn_norm, parts.mlp_norm)
            outside += [f"{block}.{name}" for name in norms if f"{block}.{name}" in self.epsilons]
            found |= {f"{block}.{parts.scale_1}", f"{block}.{parts.scale_2}"}
            for name in self.linears:
                place = self.linear(layer, name)
                found |= {place.weight, place.bias or place.weight}
        return found | {f"{name}.{part}" for name in outside for part in ("weight", "bias")}


class HybridTower(TimmTower):
    """Patches from convolutions: MobileCLIP's (Vasu et al. 2024). The stem runs as it is, with the tuner's weights; its
    BatchNorms stay at their stored means."""

    family = "timm hybrid"

    def __init__(self, model: nn.Module, output_width: int) -> None:
        super().__init__(model, output_width)
        if f"{TRUNK}.patch_embed.proj.weight" in self.parameters:
            raise SettingsError("It has patch_embed.proj behind its convolutions.")
        self.stem = model.get_submodule(f"{TRUNK}.patch_embed.backbone")
        last = [name for name, module in self.stem.named_modules() if isinstance(module, nn.Conv2d)][-1]
        self.patch_weight = f"{TRUNK}.patch_embed.backbone.{last}.weight"

    def patches(self, walk: Walk, tuner: SiteFunctions, images: Tensor) -> Tensor:
        prefix = f"{TRUNK}.patch_embed.backbone."
        weights = {
            name.removeprefix(prefix): self.weight(walk, tuner, name)
            for name in self.parameters
            if name.startswith(prefix)
        }
        patches: Tensor = functional_call(self.stem, weights, (images,))
        return patches.flatten(2).transpose(1, 2)

    def _walked(self) -> set[str]:
        stem = f"{TRUNK}.patch_embed.backbone."
        return super()._walked() | {name for name in self.parameters if name.startswith(stem)}


class VitaminTower(HybridTower):
    """ViTamin (Chen et al. 2024): convolutional stages first, then blocks whose gated MLP has a LayerNorm of its own in
    front of it."""

    family = "ViTamin"
    names_of_parts = BlockNames(**{**vars(NAMES), "mlp_norm": "mlp.hidden_norm"})

    def mlp(self, walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        normed = self.block_norm(walk, tuner, layer, "ln_mlp", "mlp.norm", tokens)
        return super().mlp(walk, tuner, layer, normed)

    def _walked(self) -> set[str]:
        norms = {f"{self.blocks}.{layer}.mlp.norm" for layer in range(self.layers)}
        return super()._walked() | {f"{name}.{part}" for name in norms for part in ("weight", "bias")}
