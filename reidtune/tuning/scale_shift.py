"""Scales and shifts of features (SSF, Lian et al., NeurIPS 2022, arXiv 2210.08823)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.backbone.tower import ImageTower, Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component

_LINEARS = ("q", "k", "v", "out", "fc1", "fc2")
_PARAMETERS = {"out": "attn.out_proj", "fc1": "mlp.c_fc", "fc2": "mlp.c_proj"}
_STD = 0.02
_PATCHES = "patches"


class ScaleShift(Component):
    """y = γ ⊙ x + β, a channel each, after the patch embedding, both LayerNorms and every linear map of a block, and
    the last LayerNorm. γ ~ N(1, 0.02), β ~ N(0, 0.02), as the paper's code starts.

    Everything merges: β of the patch embedding, which has no bias in CLIP, into the positions of the patches.
    """

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.last = tower.layers
        width = tower.width
        self._add(_PATCHES, width)
        for layer in range(tower.layers):
            for name in ("ln_1", "ln_2"):
                self._add(f"{layer}_{name}", width)
            for name in _LINEARS:
                self._add(f"{layer}_{name}", tower.linear_shape(name)[1])
        self._add("ln_post", width)

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        if place != "before_positions":
            return tokens
        return torch.cat([tokens[:, :1], self._scaled(_PATCHES, tokens[:, 1:])], dim=1)

    def norm(self, walk: Walk, layer: int, name: str, tokens: Tensor, normed: Tensor) -> Tensor:
        if layer == -1:
            return normed
        return self._scaled(name if layer == self.last else f"{layer}_{name}", normed)

    def linear(self, walk: Walk, layer: int, name: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        return self._scaled(f"{layer}_{name}", outputs)

    def merge(self, values: dict[str, Tensor], tower: Tower) -> bool:
        assert isinstance(tower, ImageTower)
        scale, shift = self._pair(_PATCHES)
        values["visual.conv1.weight"] *= scale[:, None, None, None]
        values["visual.positional_embedding"][1:] += shift
        self._merge(values, "visual.ln_post", "ln_post")
        for layer in range(tower.layers):
            block = f"{tower.blocks}.{layer}"
            for name in ("ln_1", "ln_2"):
                self._merge(values, f"{block}.{name}", f"{layer}_{name}")
            scale, shift = (
                torch.cat(parts) for parts in zip(*(self._pair(f"{layer}_{n}") for n in "qkv"), strict=True)
            )
            _scale(values, f"{block}.attn.in_proj_weight", f"{block}.attn.in_proj_bias", scale, shift)
            for name, parameter in _PARAMETERS.items():
                self._merge(values, f"{block}.{parameter}", f"{layer}_{name}")
        return True

    def _add(self, name: str, width: int) -> None:
        self.register_parameter(f"{name}_scale", nn.Parameter(1 + torch.randn(width) * _STD))
        self.register_parameter(f"{name}_shift", nn.Parameter(torch.randn(width) * _STD))

    def _scaled(self, name: str, rows: Tensor) -> Tensor:
        return rows * self.get_parameter(f"{name}_scale") + self.get_parameter(f"{name}_shift")

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_parameter(f"{name}_scale").detach().cpu(), self.get_parameter(f"{name}_shift").detach().cpu()

    def _merge(self, values: dict[str, Tensor], parameter: str, name: str) -> None:
        _scale(values, f"{parameter}.weight", f"{parameter}.bias", *self._pair(name))


def _scale(values: dict[str, Tensor], weight: str, bias: str, scale: Tensor, shift: Tensor) -> None:
    values[weight] *= scale if values[weight].ndim == 1 else scale[:, None]
    values[bias] *= scale
    values[bias] += shift
