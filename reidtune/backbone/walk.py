"""What one pass through a tower carries along, and what a tuner may do at the sites of the tower."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from reidtune.backbone.tower import Tower


@dataclass
class Walk:
    """One forward pass of one tower.

    ``ids`` are the token ids [B, T] of a text batch (a component may rewrite them at ``embed``; the pooled row is
    found in the rewritten ones). ``cameras`` are camera indices [B] where known. ``modality`` gives the index of the
    modality of each row [B] of a multi-modal batch. Components add named scalar losses to ``auxiliary``.
    """

    tower: Tower
    ids: Tensor | None = None
    cameras: Tensor | None = None
    modality: Tensor | None = None
    auxiliary: dict[str, Tensor] = field(default_factory=dict)


class SiteFunctions(Protocol):
    """The table of sites. Shapes: tokens [B, N, d], per-layer linears [B, N, out].

    The tower calls every site on the tuner; a tuner asks the components that serve the site, in order, and with no
    component each call returns what it was given.
    """

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        """Token rows at ``before_positions``, ``after_positions`` or ``after_ln_pre``."""

    def tokens(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        """The rows that enter block ``layer``; rows may be added, replaced, dropped or exchanged."""

    def norm(self, walk: Walk, layer: int, name: str, tokens: Tensor, normed: Tensor) -> Tensor:
        """The output of a LayerNorm; ``layer`` is −1 for ``ln_pre`` and the number of blocks for the last one."""

    def weight(self, walk: Walk, name: str, value: Tensor) -> Tensor:
        """The value used for the backbone parameter ``name`` (its state-dict name)."""

    def linear(self, walk: Walk, layer: int, name: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The output of the linear map ``q``, ``k``, ``v``, ``out``, ``fc1`` or ``fc2`` of block ``layer``."""

    def key_value(self, walk: Walk, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, N, d]; rows put in front of them are seen by every query."""

    def attention(self, walk: Walk, layer: int, tokens: Tensor, attended: Tensor) -> Tensor:
        """The rows after the attention residual; ``attended`` is what attention added."""

    def beside_mlp(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor | None:
        """What is added parallel to the MLP, computed from the rows after attention (before ``ln_2``)."""

    def block(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        """The rows that leave block ``layer``."""

    def pool(self, walk: Walk, tokens: Tensor, feature: Tensor) -> Tensor:
        """The feature [B, D], given all rows after the last block and the backbone's own feature."""
