"""Scales and shifts of features (SSF, Lian et al., NeurIPS 2022, arXiv 2210.08823)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.backbone.image_tower import LAST, ImageTower
from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component

_STD = 0.02
_PATCHES = "patches"


class ScaleShift(Component):
    """y = γ ⊙ x + β, a channel each, after the patch embedding, both LayerNorms and every linear map of a block, and
    the last LayerNorm. γ ~ N(1, 0.02), β ~ N(0, 0.02), as the paper's code starts.

    Everything merges: β of a patch embedding without a bias, as in CLIP, into the positions of the patches. A linear
    map without a bias (keys in EVA) gets γ alone. With ``first`` above 0 the blocks before that one and the patch
    embedding stay as they are.
    """

    def __init__(self, tower: ImageTower, first: int = 0) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.first = first
        self.last = tower.layers
        self.leading = tower.leading
        width = tower.width
        if not first:
            self._add(_PATCHES, width)
        for layer in range(first, tower.layers):
            for name in ("ln_1", "ln_2"):
                self._add(f"{layer}_{name}", width)
            for name, linear in tower.linears.items():
                self._add(f"{layer}_{name}", linear.outputs, linear.bias is not None)
        self._add(LAST, len(tower.parameters[f"{tower.last_norm}.weight"]))  # CoCa's is behind a pool to other widths

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        if place != "before_positions":
            return tokens
        return torch.cat([tokens[:, : self.leading], self._scaled(_PATCHES, tokens[:, self.leading :])], dim=1)

    def norm(self, walk: Walk, layer: int, name: str, tokens: Tensor, normed: Tensor) -> Tensor:
        if layer == self.last:
            return self._scaled(LAST, normed) if name == LAST else normed
        return self._scaled(f"{layer}_{name}", normed) if name in ("ln_1", "ln_2") else normed

    def linear(self, walk: Walk, layer: int, name: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        return self._scaled(f"{layer}_{name}", outputs)

    def merge(self, values: dict[str, Tensor], tower: Tower) -> bool:
        assert isinstance(tower, ImageTower)
        if not self.first and not self._merge_patches(values, tower):
            return False
        self._merge_norm(values, tower.last_norm, LAST)
        for layer in range(self.first, tower.layers):
            block = f"{tower.blocks}.{layer}"
            for name, own in (("ln_1", tower.parts.norm_1), ("ln_2", tower.parts.norm_2)):
                self._merge_norm(values, f"{block}.{own}", f"{layer}_{name}")
            for name in tower.linears:
                place = tower.linear(layer, name)
                scale, shift = self._pair(f"{layer}_{name}")
                values[place.weight][place.start : place.start + place.outputs] *= scale[:, None]
                if place.bias is not None:
                    bias_rows = values[place.bias][place.bias_start : place.bias_start + place.outputs]
                    bias_rows *= scale
                    bias_rows += shift
        return True

    def _merge_patches(self, values: dict[str, Tensor], tower: ImageTower) -> bool:
        scale, shift = self._pair(_PATCHES)
        values[tower.patch_weight] *= scale[:, None, None, None]
        if (bias := tower.patch_weight.removesuffix("weight") + "bias") in values:
            values[bias] *= scale
            values[bias] += shift
        elif tower.positions is not None:
            values[tower.positions][..., tower.position_rows :, :] += shift
        else:
            return False
        return True

    def _add(self, name: str, width: int, shift: bool = True) -> None:
        self.register_parameter(f"{name}_scale", nn.Parameter(1 + torch.randn(width) * _STD))
        if shift:
            self.register_parameter(f"{name}_shift", nn.Parameter(torch.randn(width) * _STD))

    def _scaled(self, name: str, rows: Tensor) -> Tensor:
        rows = rows * self.get_parameter(f"{name}_scale")
        shift = self._parameters.get(f"{name}_shift")
        return rows if shift is None else rows + shift

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        scale = self.get_parameter(f"{name}_scale").detach().cpu()
        shift = self._parameters.get(f"{name}_shift")
        return scale, torch.zeros_like(scale) if shift is None else shift.detach().cpu()

    def _merge_norm(self, values: dict[str, Tensor], parameter: str, name: str) -> None:
        scale, shift = self._pair(name)
        values[f"{parameter}.weight"] *= scale
        values[f"{parameter}.bias"] *= scale
        values[f"{parameter}.bias"] += shift
