"""A full difference of backbone parameters: full fine-tuning, saved as a delta like everything else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component


class Difference(Component):
    """W + D for every named parameter of a tower, D starting at zero.

    The trained tensor is the fp32 difference itself, so a saved delta gives back the very same weights. Its gradient
    is that of the weight; weight decay pulls towards the backbone (L2-SP, Li et al. 2018), not towards zero.
    """

    def __init__(self, tower: Tower, names: Sequence[str]) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.keys = {name: name.removeprefix(tower.prefix).replace(".", "/") for name in names}
        for name, key in self.keys.items():
            self.register_parameter(key, nn.Parameter(torch.zeros(tower.parameters[name].shape)))

    def weight(self, walk: Walk, name: str, value: Tensor) -> Tensor:
        key = self.keys.get(name)
        return value if key is None else value + self.get_parameter(key)

    def merge(self, values: dict[str, Tensor], tower: Tower) -> bool:
        for name, key in self.keys.items():
            values[name] += self.get_parameter(key).detach().cpu()
        return True
