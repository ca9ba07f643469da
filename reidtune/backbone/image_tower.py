"""What all image towers share: patches and leading rows → blocks → pool."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.linears import Linear
from reidtune.backbone.tower import BlockNames, Tower
from reidtune.backbone.walk import SiteFunctions, Walk

LAST = "ln_post"  # the site of the last LayerNorm


class ImageTower(Tower):
    """Images [B, 3, H, W], normalised → features [B, D].

    Attributes, beside those of :class:`Tower`: ``grid`` and ``patch`` (rows and columns of patches; pixels of one),
    ``leading`` (how many rows stand in front of the patches: the class row, then registers; 0 in towers without),
    ``positions`` (parameter name, [.., rows, d]; ``None`` without), ``position_rows`` (leading rows that it has a
    position for), ``patch_weight`` (the convolution that makes the patches, the last one where there are several).

    Rows that components add have no position, learned or rotary, and are not pooled: whatever the pooling, it reads
    the rows that it reads without them.
    """

    kind = "image"
    prefix = "visual."

    def __init__(
        self,
        model: nn.Module,
        blocks: str,
        names: BlockNames,
        linears: dict[str, Linear],
        layers: int,
        heads: int,
        output_width: int,
        grid: tuple[int, int],
        patch: tuple[int, int],
    ) -> None:
        super().__init__(model, blocks, names, linears, layers, heads, output_width)
        self.grid = grid
        self.patch = patch
        self.leading: int
        self.positions: str | None
        self.position_rows: int
        self.patch_weight: str

    @property
    def pools_class_row(self) -> bool:
        return self.pooling == "cls"

    def pooled_at(self, walk: Walk, tokens: Tensor) -> Tensor | None:
        return torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device) if self.pools_class_row else None

    def patches(self, walk: Walk, tuner: SiteFunctions, images: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, P, d], row by row."""
        bias = self.patch_weight.removesuffix("weight") + "bias"
        patches = F.conv2d(
            images,
            self.weight(walk, tuner, self.patch_weight),
            self.weight(walk, tuner, bias) if bias in self.parameters else None,
            stride=self.patch,
        )
        return patches.flatten(2).transpose(1, 2)

    def leading_rows(self, walk: Walk, tuner: SiteFunctions) -> list[Tensor]:
        """The rows that stand in front of the patches, [1, n, d] each."""
        raise NotImplementedError

    def pooled(self, walk: Walk, tuner: SiteFunctions, tokens: Tensor) -> Tensor:
        """The rows that leave the last block → features [B, D]."""
        raise NotImplementedError

    def __call__(self, images: Tensor, tuner: SiteFunctions, walk: Walk | None = None) -> Tensor:
        walk = walk or Walk()
        return self.from_block(self.rows_before(images, tuner, walk, 0), tuner, walk, 0)

    def rows_before(self, images: Tensor, tuner: SiteFunctions, walk: Walk, block: int) -> Tensor:
        """The rows [B, N, d] that enter block ``block``, without what ``tuner.tokens`` does there; with the number of
        blocks those that leave the last one, see :meth:`from_block`."""
        walk.tower = self
        patches = self.patches(walk, tuner, images)
        leading = [rows.expand(len(images), -1, -1).to(patches.dtype) for rows in self.leading_rows(walk, tuner)]
        tokens = torch.cat([*leading, patches], dim=1)
        tokens = tuner.embed(walk, "before_positions", tokens)
        if self.positions is not None:
            tokens = tokens + self._positions(walk, tuner)
        tokens = tuner.embed(walk, "after_positions", tokens)
        tokens = self.before_blocks(walk, tuner, tokens)
        tokens = tuner.embed(walk, "after_ln_pre", tokens)
        return self.through(walk, tuner, tokens, range(block))

    def from_block(self, tokens: Tensor, tuner: SiteFunctions, walk: Walk, block: int) -> Tensor:
        """Features [B, D] from the rows that :meth:`rows_before` gave for ``block``, in a walk that knows the same (its
        ``rows`` included)."""
        walk.tower = self
        tokens = self.run_blocks(walk, tuner, tokens, block)
        return tuner.pool(walk, tokens, self.pooled(walk, tuner, tokens))

    def before_blocks(self, walk: Walk, tuner: SiteFunctions, tokens: Tensor) -> Tensor:
        """``ln_pre``, where the tower has one."""
        raise NotImplementedError

    def patch_rows(self, walk: Walk, tokens: Tensor) -> slice:
        """Where the patches stand among the rows [B, N, d], those that components put there considered."""
        start, count = self.leading + walk.rows.before, self.grid[0] * self.grid[1]
        if tokens.shape[1] != start + count + walk.rows.behind:
            raise ValueError(
                f"{tokens.shape[1]} rows where {self.leading} leading ones and {count} patches were expected: a "
                f"component put rows there and did not say so in walk.rows ({walk.rows})"
            )
        return slice(start, start + count)

    def own_rows(self, walk: Walk, tokens: Tensor) -> Tensor:
        """The leading rows and the patches, without what components put there."""
        patches = self.patch_rows(walk, tokens)
        if not walk.rows.before:
            return tokens[:, : patches.stop]
        return torch.cat([tokens[:, : self.leading], tokens[:, patches]], dim=1)

    def _positions(self, walk: Walk, tuner: SiteFunctions) -> Tensor:
        assert self.positions is not None
        table = self.weight(walk, tuner, self.positions).flatten(0, -2)
        missing = self.leading - self.position_rows
        return torch.cat([table.new_zeros(missing, table.shape[-1]), table]) if missing else table
