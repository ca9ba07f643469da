"""One encoder of the backbone as embed → blocks → pool, with named sites. Reads the open_clip model's own weights.

Families: :mod:`reidtune.backbone.open_clip_tower` (open_clip's own image towers), :mod:`reidtune.backbone.timm_tower`
(timm's vision transformers), :mod:`reidtune.backbone.text_tower`. This is what they share: the walk through the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.activation import lean
from reidtune.backbone.linears import GATE, Linear
from reidtune.backbone.short_cuts import apart, computed_again, kept, picked
from reidtune.backbone.walk import SiteFunctions, Walk


@dataclass(frozen=True)
class BlockNames:
    """What the parts of a block are called, below the block; those that a model lacks are left out of the walk.

    ``norm_1`` and ``norm_2`` are called ``ln_1`` and ``ln_2`` at sites, ``attn_norm`` (on what attention mixed, before
    ``out``) ``ln_attn``, ``mlp_norm`` (on hidden units) ``ln_mlp``. ``scale_1`` and ``scale_2`` are LayerScale's.
    """

    norm_1: str
    norm_2: str
    scale_1: str
    scale_2: str
    query_norm: str
    key_norm: str
    attn_norm: str
    mlp_norm: str
    activation: str


class Tower:
    """A frozen encoder whose walk through the blocks is ours, so that a tuner can act at every site.

    Parameters are looked up by their state-dict names, never by module class: open_clip 3 holds
    ``nn.MultiheadAttention`` and open_clip 4 an attention of its own, both with these names. The open_clip model is
    neither modified nor patched. With an empty tuner the features equal ``encode_image`` / ``encode_text``.

    Attributes: ``kind`` (``image`` | ``text``), ``family`` (whose kind of tower it is, for people), ``width`` d,
    ``layers`` L, ``heads``, ``output_width`` D, ``prefix`` (the state-dict prefix of the tower's own parameters),
    ``linears`` (the linear maps of a block by name), ``pooling`` (which rows make the feature), ``last_norm`` and
    ``projection`` (parameter names of the last LayerNorm and of the matrix that makes the feature, ``None`` without
    one), ``front`` (how the names of the parameters begin that are read in front of the blocks), ``recomputed`` (how
    many blocks keep their input alone and are computed again for the backward pass) and ``compiled`` (:meth:`block`,
    compiled; ``None``: as it is), which are to be set from outside.
    """

    kind: str
    family: str
    prefix: str
    causal = False
    pooling: str
    last_norm: str
    projection: str | None = None
    front: tuple[str, ...] = ("",)  # not known: all that are not in a block

    def __init__(
        self,
        model: nn.Module,
        blocks: str,
        names: BlockNames,
        linears: dict[str, Linear],
        layers: int,
        heads: int,
        output_width: int,
    ) -> None:
        self.parameters = dict(model.named_parameters())
        self.blocks = blocks
        self.parts = names
        self.linears = linears
        self._maps = [
            {name: found.within(f"{blocks}.{layer}") for name, found in linears.items()} for layer in range(layers)
        ]
        self.width = linears["q"].inputs
        self.layers = layers
        self.heads = heads
        self.output_width = output_width
        activation = model.get_submodule(f"{blocks}.0.{names.activation}")
        self.activation: nn.Module = lean(activation)
        self._activation_name = repr(activation)
        self.recomputed = 0
        self.compiled: Callable[[Walk, SiteFunctions, int, Tensor], Tensor] | None = None
        self.epsilons = {name: module.eps for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}

    def variant(self) -> str:
        """What else makes the function, which weights do not tell: for the fingerprint."""
        return f"{self.family}, {self._activation_name}"

    def names(self) -> list[str]:
        """State-dict names of the parameters that make this tower's features, in order."""
        return [name for name in self.parameters if name.startswith(self.prefix)]

    def reader(self, name: str) -> int:
        """The first block that reads the parameter ``name``: 0 also for those in front of the blocks, the number of
        blocks for those behind."""
        if name.startswith(blocks := f"{self.blocks}."):
            return int(name.removeprefix(blocks).partition(".")[0])
        return 0 if name.startswith(self.front) else self.layers

    def names_from(self, first: int) -> list[str]:
        """Those that nothing before block ``first`` reads; all of them for 0."""
        return [name for name in self.names() if self.reader(name) >= first]

    def norm_names(self) -> list[str]:
        """Those of its LayerNorms."""
        return [name for name in self.names() if name.rpartition(".")[0] in self.epsilons]

    def linear(self, layer: int, name: str) -> Linear:
        """Where the linear map ``name`` of block ``layer`` lies in the state dict."""
        return self._maps[layer][name]

    def linear_shape(self, name: str) -> tuple[int, int]:
        """``(in, out)`` of the linear map ``q``, ``k``, ``v``, ``out``, ``fc1`` or ``fc2`` (equal in all blocks)."""
        found = self.linears[name]
        return found.inputs, found.outputs

    def merge_map(self, values: dict[str, Tensor], matrix: Tensor) -> bool:
        """Write f ← ``matrix`` f on the feature into the projection; False where the tower has none."""
        if self.projection is None:
            return False
        weight = values[self.projection]
        if self.projection.endswith(".weight"):  # of an nn.Linear, which holds it transposed
            weight.copy_(matrix @ weight)
            if (bias := self.projection.removesuffix("weight") + "bias") in values:
                values[bias].copy_(matrix @ values[bias])
        else:
            weight.copy_(weight @ matrix.T)
        return True

    def weight(self, walk: Walk, tuner: SiteFunctions, name: str) -> Tensor:
        return tuner.weight(walk, name, self.parameters[name])

    def run_blocks(self, walk: Walk, tuner: SiteFunctions, tokens: Tensor, first: int = 0) -> Tensor:
        """Rows [B, N, d] that enter block ``first`` through it and those behind it → [B, N, d], or [B, 1, d], the
        pooled row alone, where nothing needs the others."""
        return self.through(walk, tuner, tokens, range(first, self.layers))

    def through(self, walk: Walk, tuner: SiteFunctions, tokens: Tensor, layers: range) -> Tensor:
        """Rows through these blocks; the first ``recomputed`` of them that autograd would keep something of keep their
        input alone."""
        begun = 0
        for layer in layers:
            block = partial(self._block, tuner, layer)
            if torch.is_grad_enabled() and begun < self.recomputed and layer >= tuner.first_block(self):
                tokens = computed_again(block, walk, tokens)
                begun += 1
            else:
                tokens = block(walk, tokens)
        return tokens

    def _block(self, tuner: SiteFunctions, layer: int, walk: Walk, tokens: Tensor) -> Tensor:
        block = self.compiled if torch.is_grad_enabled() else None
        return (block or self.block)(walk, tuner, layer, tokens)

    def block(self, walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        """Rows [B, N, d] through block ``layer``."""
        tokens = tuner.tokens(walk, layer, tokens)
        pooled, all_attend = None, True
        if layer == self.layers - 1:  # what leaves it is read in the pooled row alone
            all_attend = tuner.reads_all_tokens(walk)
            if not all_attend or tuner.observes(walk):
                pooled = self.pooled_at(walk, tokens)
        with kept(walk, None if all_attend else pooled):
            attended = self.attended(walk, tuner, layer, tokens)
            tokens = tuner.attention(walk, layer, picked(walk, tokens) + attended, attended)
        if pooled is not None and all_attend:
            tuner.observe(walk, layer, tokens)
        with kept(walk, pooled):
            tokens = picked(walk, tokens)
            hidden = self.hidden(walk, tuner, layer, tokens)
            beside = tuner.beside_mlp(walk, layer, tokens)
            tokens = tokens + hidden if beside is None else tokens + hidden + beside
            return tuner.block(walk, layer, tokens)

    def pooled_at(self, walk: Walk, tokens: Tensor) -> Tensor | None:
        """Which of the rows [B, N, d] of each input alone makes the feature, [B]; ``None``: several do."""
        return None

    def attended(self, walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        """What attention adds to the rows (to ``walk.kept``); the norm comes first (CLIP, Radford et al. 2021)."""
        normed = self.block_norm(walk, tuner, layer, "ln_1", self.parts.norm_1, tokens)
        return self.scaled(walk, tuner, layer, self.parts.scale_1, self.attention(walk, tuner, layer, normed))

    def hidden(self, walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        """What the MLP adds to the rows; the norm comes first."""
        normed = self.block_norm(walk, tuner, layer, "ln_2", self.parts.norm_2, tokens)
        return self.scaled(walk, tuner, layer, self.parts.scale_2, self.mlp(walk, tuner, layer, normed))

    def attention(self, walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        if walk.kept is None:
            query, key, value = self.mapped(walk, tuner, layer, ("q", "k", "v"), tokens)
        else:
            key, value = self.mapped(walk, tuner, layer, ("k", "v"), tokens)
            (query,) = self.mapped(walk, tuner, layer, ("q",), picked(walk, tokens))
        query = self.head_norm(walk, tuner, layer, self.parts.query_norm, query)
        key = self.head_norm(walk, tuner, layer, self.parts.key_norm, key)
        key = self.rotated(walk, key)
        if walk.kept is None:  # else it is a leading row, which has no rotary position
            query = self.rotated(walk, query)
        rows = [query, key, value]
        query, key, value = apart(rows, [query, *tuner.key_value(walk, layer, key, value)])
        mask = self.mask(walk, tokens.shape[1], key.shape[1] - tokens.shape[1], query.device)
        mixed = F.scaled_dot_product_attention(
            self.split_heads(query),
            self.split_heads(key),
            self.split_heads(value),
            attn_mask=mask,
            is_causal=self.causal and mask is None,
        )
        mixed = self.block_norm(walk, tuner, layer, "ln_attn", self.parts.attn_norm, mixed.transpose(1, 2).flatten(2))
        return self.mapped(walk, tuner, layer, ("out",), mixed)[0]

    def mlp(self, walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        if GATE in self.linears:
            gate, hidden = self.mapped(walk, tuner, layer, (GATE, "fc1"), tokens)
            hidden = self.activation(gate) * hidden
        else:
            hidden = self.activation(self.mapped(walk, tuner, layer, ("fc1",), tokens)[0])
        hidden = self.block_norm(walk, tuner, layer, "ln_mlp", self.parts.mlp_norm, hidden)
        return self.mapped(walk, tuner, layer, ("fc2",), hidden)[0]

    def mask(self, walk: Walk, length: int, extra: int, device: torch.device) -> Tensor | None:
        """Which keys [.., length, extra + length] a query may look at: all, or the ``extra`` ones that components put
        in front and those up to its own; ``None`` without extra keys, where attention itself can tell. Of the rows
        ``walk.kept`` alone [B, 1, 1, extra + length]."""
        if not self.causal:
            return None
        if walk.kept is not None:
            keys = torch.arange(extra + length, device=device)
            return (keys <= walk.kept[:, None] + extra)[:, None, None]
        return causal_mask(length, extra, device) if extra else None

    def rotated(self, walk: Walk, rows: Tensor) -> Tensor:
        """Queries or keys [B, N, d] with rotary positions; without, in towers that have none."""
        return rows

    def mapped(
        self, walk: Walk, tuner: SiteFunctions, layer: int, names: Sequence[str], inputs: Tensor
    ) -> list[Tensor]:
        """Outputs of linear maps that read the same rows; those that share a matrix are one product."""
        maps = [self.linear(layer, name) for name in names]
        if len({found.weight for found in maps}) == 1:
            weight = self.weight(walk, tuner, maps[0].weight)[maps[0].start : maps[-1].start + maps[-1].outputs]
            together = F.linear(inputs, weight, self._joined_bias(walk, tuner, maps))
            outputs = list(torch.split(together, [found.outputs for found in maps], dim=-1))
        else:
            outputs = [
                F.linear(inputs, self.weight(walk, tuner, found.weight), self._joined_bias(walk, tuner, [found]))
                for found in maps
            ]
        found = [tuner.linear(walk, layer, name, inputs, output) for name, output in zip(names, outputs, strict=True)]
        return found if len({place.weight for place in maps}) == len(maps) else apart(outputs, found)

    def _joined_bias(self, walk: Walk, tuner: SiteFunctions, maps: Sequence[Linear]) -> Tensor | None:
        held = {found.bias for found in maps}
        if len(held) == 1:
            only = held.pop()
            if only is None:
                return None
            return self.weight(walk, tuner, only)[maps[0].bias_start : maps[-1].bias_start + maps[-1].outputs]
        biases = [None if found.bias is None else self.weight(walk, tuner, found.bias) for found in maps]
        other = next(bias for bias in biases if bias is not None)
        return torch.cat(
            [other.new_zeros(found.outputs) if bias is None else bias for found, bias in zip(maps, biases, strict=True)]
        )

    def norm(self, walk: Walk, tuner: SiteFunctions, layer: int, site: str, name: str, tokens: Tensor) -> Tensor:
        """The LayerNorm whose parameters are ``name``.weight and ``name``.bias, at the site ``site``."""
        return tuner.norm(walk, layer, site, tokens, self._layer_norm(walk, tuner, name, tokens))

    def block_norm(self, walk: Walk, tuner: SiteFunctions, layer: int, site: str, name: str, tokens: Tensor) -> Tensor:
        """A LayerNorm of a block; the rows themselves where the block has none of that name."""
        name = f"{self.blocks}.{layer}.{name}"
        return self.norm(walk, tuner, layer, site, name, tokens) if name in self.epsilons else tokens

    def head_norm(self, walk: Walk, tuner: SiteFunctions, layer: int, name: str, rows: Tensor) -> Tensor:
        """A LayerNorm of each head of queries or keys [B, N, d], where the block has one."""
        name = f"{self.blocks}.{layer}.{name}"
        if name not in self.epsilons:
            return rows
        return self._layer_norm(walk, tuner, name, rows.reshape(*rows.shape[:-1], self.heads, -1)).flatten(-2)

    def scaled(self, walk: Walk, tuner: SiteFunctions, layer: int, name: str, tokens: Tensor) -> Tensor:
        """LayerScale, where the block has one."""
        name = f"{self.blocks}.{layer}.{name}"
        return tokens * self.weight(walk, tuner, name) if name in self.parameters else tokens

    def split_heads(self, tokens: Tensor) -> Tensor:
        """[B, N, d] → [B, heads, N, d / heads]"""
        batch, rows, width = tokens.shape
        return tokens.reshape(batch, rows, self.heads, width // self.heads).transpose(1, 2)

    def _layer_norm(self, walk: Walk, tuner: SiteFunctions, name: str, tokens: Tensor) -> Tensor:
        weight, bias = (self.weight(walk, tuner, f"{name}.{part}") for part in ("weight", "bias"))
        return F.layer_norm(tokens, (tokens.shape[-1],), weight, bias, self.epsilons[name])


def causal_mask(length: int, extra: int, device: torch.device) -> Tensor:
    """Boolean [length, extra + length], true where a query may look: all extra rows, and rows up to its own."""
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return torch.cat([causal.new_ones(length, extra), causal], dim=1)
