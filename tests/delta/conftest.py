from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from reidtune.delta import write_delta


@pytest.fixture
def header() -> dict[str, Any]:
    """A header as the training hands it over: without norms and digest."""
    return {
        "method": "lora",
        "settings": {"rank": 2, "targets": ("q", "v"), "note": "größe"},
        "backbone": {
            "name": "tiny",
            "pretrained": "embedded",
            "fingerprint": {
                "digest": "ab" * 32,
                "tensors": {"visual.conv1.weight": "111111111111", "visual.proj": "222222222222"},
                "switches": {"activation": "quick_gelu", "image_size": [96, 48]},
            },
        },
        "preprocess": {
            "height": 96,
            "width": 48,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "interpolation": "bicubic",
        },
        "task": "image",
        "protocol": "cross-camera",
        "data": {"layout": "market1501", "hash": "cd" * 32, "train": {"images": 12, "identities": 3}},
        "metrics": {"mAP": 0.5, "how": "validation identities, reloaded file"},
    }


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    values = torch.arange(12, dtype=torch.float32)
    return {
        "lora.0.q.down": values.reshape(2, 6) / 7,
        "lora.0.q.up": -values.reshape(6, 2).T,  # not contiguous
        "neck.mean": values[:3].to(torch.bfloat16),
        "neck.count": torch.tensor(5),
    }


@pytest.fixture
def delta(tmp_path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> Path:
    path = tmp_path / "delta.safetensors"
    write_delta(path, tensors, header)
    return path
