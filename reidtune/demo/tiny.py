"""The tiny backbone: a small CLIP, trained on image and caption pairs of other people before other cameras."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TINY_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "quick_gelu": True,
    "vision_cfg": {"image_size": [96, 48], "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3},
}
"""As open_clip writes model configurations; ``image_size`` is [height, width]. Tokenizer: CLIP's own."""

TINY_MEAN = (0.45, 0.43, 0.41)
TINY_STD = (0.24, 0.24, 0.24)

FILE = Path(__file__).with_name("tiny.safetensors")
TOKEN_SEED = 49408
TOKEN_STD = 0.02
EMBEDDING = "token_embedding.weight"
ROWS = "token_embedding.rows"


def initial_token_rows() -> Tensor:
    """The token embedding [49408, width] before training, float32: as good as N(0, 0.02), from a seed.

    Each value is a sum of four uniform 16-bit integers times a constant. A normal deviate goes through logarithms that
    differ in the last bit between processors; these bits would change the backbone's fingerprint.
    """
    import torch

    text = TINY_CONFIG["text_cfg"]
    generator = torch.Generator().manual_seed(TOKEN_SEED)
    bits = torch.randint(-(2**63), 2**63 - 1, (text["vocab_size"], text["width"], 1), generator=generator)
    total = bits.view(torch.int16).sum(dim=-1, dtype=torch.int32)
    return total.float() * (TOKEN_STD / math.sqrt(4 * 2**32 / 12))


def tiny_state_dict(file: Path = FILE) -> dict[str, Tensor]:
    """The complete open_clip state dict of the tiny backbone, float32.

    The file holds fp16 values, and of the token embedding only the rows that training touched; the others are the
    rows of :func:`initial_token_rows`, as they were when training began.
    """
    from safetensors.torch import load_file

    stored = load_file(file)
    touched = stored.pop(ROWS).long()
    rows = initial_token_rows()
    rows[touched] = stored.pop(EMBEDDING).float()
    return {**{name: tensor.float() for name, tensor in stored.items()}, EMBEDDING: rows}
