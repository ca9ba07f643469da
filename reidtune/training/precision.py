"""bf16: autocast, and frozen matrices held in it."""

from __future__ import annotations

import torch

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.model import Model


def autocast(model: Model, precision: str) -> torch.autocast:
    """Matrix products in bf16 where ``precision`` says so; the tuner, norms and losses stay in fp32."""
    return torch.autocast(model.backbone.device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def hold_in_bf16(model: Model) -> int:
    """Hold in bf16 the backbone's matrices that autocast would cast to it at every use, and that no component changes:
    the features are the same bits. Returns how many bytes that frees. From here on the model runs under autocast alone.
    """
    freed = 0
    backbone = model.backbone
    for tower in (backbone.image, *([] if backbone.architecture.text_reason else [backbone.text])):
        walk = Walk(tower=tower)
        for name in _matrices(tower):
            value = tower.parameters[name]
            with torch.no_grad():
                changed = model.tuner.weight(walk, name, value) is not value
            if value.dtype == torch.float32 and not value.requires_grad and not changed:
                freed += value.numel() * 2
                value.data = value.data.bfloat16()
    return freed


def _matrices(tower: Tower) -> list[str]:
    """Names of the matrices that a tower multiplies by: nothing else than a product reads them."""
    found = {tower.linear(layer, name).weight for layer in range(tower.layers) for name in tower.linears}
    found |= {name for name in (getattr(tower, "patch_weight", None), tower.projection) if name is not None}
    return sorted(found)
