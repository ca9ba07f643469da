"""A full difference of backbone parameters: full fine-tuning, saved as a delta like everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component

LEFT, RIGHT = "/left", "/right"


class Difference(Component):
    """W + D for every named parameter of a tower, D starting at zero.

    The trained tensor is the fp32 difference itself, so a saved delta gives back the very same weights. Its gradient
    is that of the weight; weight decay pulls towards the backbone (L2-SP, Li et al. 2018), not towards zero.

    With ``rank`` r > 0, D of every matrix [m, n] for which that is smaller is a product L R, ``NAME/left`` [m, r] and
    ``NAME/right`` [r, n] (a convolution is the matrix of its flattened kernels); L starts at zero, R kaiming-uniform.
    """

    def __init__(self, tower: Tower, names: Sequence[str], rank: int = 0) -> None:
        super().__init__()
        self.towers = (tower.kind,)
        self.first = min((tower.reader(name) for name in names), default=0)
        self.keys = {name: name.removeprefix(tower.prefix).replace(".", "/") for name in names}
        self.products: set[str] = set()
        for name, key in self.keys.items():
            shape = tower.parameters[name].shape
            if is_factored(shape, rank):
                self.products.add(key)
                right = torch.empty(rank, shape[1:].numel())
                nn.init.kaiming_uniform_(right, a=math.sqrt(5))
                self.register_parameter(key + LEFT, nn.Parameter(torch.zeros(shape[0], rank)))
                self.register_parameter(key + RIGHT, nn.Parameter(right))
            else:
                self.register_parameter(key, nn.Parameter(torch.zeros(shape)))

    def weight(self, walk: Walk, name: str, value: Tensor) -> Tensor:
        key = self.keys.get(name)
        return value if key is None else value + self._difference(key).view(value.shape)

    def merge(self, values: dict[str, Tensor], tower: Tower) -> bool:
        for name, key in self.keys.items():
            values[name] += self._difference(key).detach().view(values[name].shape).cpu()
        return True

    def _difference(self, key: str) -> Tensor:
        if key not in self.products:
            return self.get_parameter(key)
        product: Tensor = self.get_parameter(key + LEFT) @ self.get_parameter(key + RIGHT)
        return product


def is_factored(shape: Sequence[int], rank: int) -> bool:
    """Whether two factors of ``rank`` hold fewer values than the tensor, seen as a matrix, has."""
    if rank <= 0 or len(shape) < 2:
        return False
    rows, columns = shape[0], math.prod(shape[1:])
    return rank * (rows + columns) < rows * columns
