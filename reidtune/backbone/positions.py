"""Positions for another image size: learned tables are resized, rotary ones computed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("bicubic", "bilinear")


def resize_positions(
    embedding: Tensor, source: tuple[int, int], target: tuple[int, int], kind: str, leading: int = 1
) -> Tensor:
    """Resize the grid part of a learned positional embedding.

    Args:
        embedding: [leading + h·w, d]: leading rows (the class row), then the source grid row by row.
        source: (h, w) in patches; not assumed square, and compared as a grid, not as a count (8×8 → 16×4 is a resize).
        target: (H, W) in patches.
        kind: ``bicubic`` with antialias, as open_clip does, or ``bilinear`` without, as IRRA's family does.
        leading: rows in front of the grid; they stay as they are.

    Returns:
        [leading + H·W, d].
    """
    if source == target:
        return embedding
    front, grid = embedding[:leading], embedding[leading:]
    grid = grid.reshape(1, *source, -1).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, size=target, mode=kind, antialias=kind == "bicubic", align_corners=False)
    grid = grid.permute(0, 2, 3, 1).reshape(target[0] * target[1], -1).to(embedding.dtype)
    return torch.cat([front, grid])


def rotary_table(
    grid: tuple[int, int],
    width: int,
    *,
    reference: tuple[int, int] | None = None,
    offset: float = 0.0,
    columns_first: bool = False,
    temperature: float = 10000.0,
) -> Tensor:
    """Angles [H·W, width] of rotary positions of an image (RoPE, Su et al. 2021, over two axes).

    The first half of the columns turns with a patch's row and the second with its column (the other way round with
    ``columns_first``), each pair of columns by coordinate · temperature^(−i / (width / 4)), i = 0 … width / 4 − 1.

    Args:
        grid: (H, W) in patches.
        width: columns of a head.
        reference: the grid (h, w) of the pre-training, to whose range coordinates are scaled: y · h / H, x · w / W.
        offset: added to the coordinates, which count from 0, before they are scaled.
    """
    bands = temperature ** -(torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    axes = []
    for place, count in enumerate(grid):
        axis = torch.arange(count, dtype=torch.float32) + offset
        axes.append(axis if reference is None else axis / count * reference[place])
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    order = (columns, rows) if columns_first else (rows, columns)
    angles = torch.cat([axis.reshape(-1, 1) * bands for axis in order], dim=-1)
    return angles.repeat_interleave(2, dim=-1)
