"""Losses in full precision, also where the towers ran in half."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """``loss`` outside of autocast, with bf16 and fp16 arguments made fp32; fp64 stays.

    A softmax at temperature 0.02 multiplies the rounding of a bf16 cosine by 50.
    """

    @wraps(loss)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        given = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(given.device.type, enabled=False):
            return loss(*map(_full, args), **{name: _full(value) for name, value in kwargs.items()})  # type: ignore[arg-type]

    return inner


def _full(value: object) -> object:
    half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value  # type: ignore[attr-defined]
