"""Positional embeddings for another image size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("bicubic", "bilinear")


def resize_positions(embedding: Tensor, source: tuple[int, int], target: tuple[int, int], kind: str) -> Tensor:
    """Resize the grid part of a learned positional embedding.

    Args:
        embedding: [1 + h·w, d], row 0 the class row, then the source grid row by row.
        source: (h, w) in patches; not assumed square, and compared as a grid, not as a count (8×8 → 16×4 is a resize).
        target: (H, W) in patches.
        kind: ``bicubic`` with antialias, as open_clip does, or ``bilinear`` without, as IRRA's family does.

    Returns:
        [1 + H·W, d].
    """
    if source == target:
        return embedding
    cls, grid = embedding[:1], embedding[1:]
    grid = grid.reshape(1, *source, -1).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, size=target, mode=kind, antialias=kind == "bicubic", align_corners=False)
    grid = grid.permute(0, 2, 3, 1).reshape(target[0] * target[1], -1).to(embedding.dtype)
    return torch.cat([cls, grid])
