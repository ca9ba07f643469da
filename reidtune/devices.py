"""Which device computes, and what it can do."""

from __future__ import annotations

import torch

from reidtune.errors import SettingsError


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else MPS, else the CPU.

    Raises:
        SettingsError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f'"{name}" is no device.', "Choose auto, cpu, cuda, cuda:0 or mps.") from error
    usable = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not usable.get(device.type, False):
        raise SettingsError(f"The device {name} is not available here.", "Use --device auto or --device cpu.")
    return device


def check_precision(precision: str, device: torch.device) -> None:
    """Raise :class:`SettingsError` where ``device`` cannot compute in ``precision``."""
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise SettingsError("This GPU has no bfloat16 arithmetic.", "Use --precision fp32.")
