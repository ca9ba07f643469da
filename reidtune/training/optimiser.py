"""Adam or AdamW with bias rules, and the learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from reidtune.config import OptimiserSection


def build_optimiser(
    tuner: nn.Module, heads: nn.Module, config: OptimiserSection, trains: Callable[[str], bool]
) -> torch.optim.Optimizer:
    """An optimiser over the tuner's tensors for which ``trains(name)`` holds, and over the heads.

    Biases (names ending in ``bias``) learn ``bias_lr_factor`` times faster with their own weight decay, as the ReID
    families do. ``head_lr_factor`` other than 1 replaces that rule for the heads (the later rule wins in IRRA's
    family). A group's ``scale`` is its factor on the learning rate.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    named: Iterable[tuple[str, nn.Parameter, float]] = [
        *((name, value, 1.0) for name, value in tuner.named_parameters() if trains(name)),
        *((name, value, config.head_lr_factor) for name, value in heads.named_parameters() if value.requires_grad),
    ]
    for name, value, factor in named:
        is_bias = name.endswith("bias")
        scale = config.bias_lr_factor if is_bias and factor == 1.0 else factor
        decay = config.bias_weight_decay if is_bias else config.weight_decay
        groups.setdefault((scale, decay), []).append(value)
    parameters: list[dict[str, Any]] = [
        {"params": values, "lr": config.lr * scale, "weight_decay": decay, "scale": scale}
        for (scale, decay), values in groups.items()
    ]
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(parameters, lr=config.lr, betas=config.betas, eps=config.eps)


def learning_rate_factor(step: int, steps: int, warmup: float, warmup_factor: float, final_factor: float) -> float:
    """The factor on the learning rate of ``step`` (from 0) of ``steps``.

    Linear from ``warmup_factor`` to 1 over the first ``warmup`` steps, then half a cosine down to ``final_factor``.
    """
    if step < warmup:
        return warmup_factor + (1 - warmup_factor) * step / warmup
    progress = min(1.0, (step - warmup) / max(1.0, steps - warmup))
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]
