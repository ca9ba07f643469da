"""Backward passes that are written out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Backward = Callable[..., tuple[Tensor | None, ...]]


def by_hand(backward: Backward) -> Backward:
    """``backward`` of a ``torch.autograd.Function`` in the precisions that it names itself, also where it is asked for
    within autocast; a second derivative is refused."""

    @wraps(backward)
    def plainly(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(gradients[0].device.type, enabled=False):
            return backward(ctx, *gradients)

    refusing: Backward = once_differentiable(plainly)
    return refusing
