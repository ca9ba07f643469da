"""What one pass through a tower carries along, and what a tuner may do at the sites of the tower."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from reidtune.backbone.tower import Tower


@dataclass
class ExtraRows:
    """How many rows components put into the sequence of an image: ``before`` the patches (behind the rows that the
    tower itself puts there) and ``behind`` them. They have no position, and the tower does not pool them."""

    before: int = 0
    behind: int = 0


@dataclass
class Walk:
    """One forward pass of one tower: what is known of its rows, and what components leave on the way.

    Known of the B inputs, ``None`` where not: ``seeds`` [B] int64, one for each, from which alone dropout follows;
    ``labels`` [B], classes of a training batch; ``cameras`` and ``scenes`` [B] as the records have them; ``samples``
    [B] and ``modality`` [B], which sample and which of its modalities an input is, in a batch that holds several
    modalities. ``ids`` are the token ids [B, T] of a text batch; a component may put rewritten ones here at ``embed``,
    and the pooled row is found in those.

    Left by components: ``outputs``, tensors for the objective such as intermediate features; ``statistics``, sums over
    inputs (never means) for losses that are not a mean over inputs, so that parts of a batch can be added up before
    the loss; ``state``, what a component hands from one site to another. All are keyed ``component/layer/name`` and
    written once, since a block may be computed again for its backward pass. A component that puts rows into the
    sequence of an image says how many in ``rows``.
    """

    tower: Tower | None = None  # the tower sets it
    ids: Tensor | None = None
    seeds: Tensor | None = None
    labels: Tensor | None = None
    cameras: Tensor | None = None
    scenes: Tensor | None = None
    samples: Tensor | None = None
    modality: Tensor | None = None
    kept: Tensor | None = None  # the tower sets it: [B], the only row that a site still gets, where not all
    rows: ExtraRows = field(default_factory=ExtraRows)  # shared by walks that know a part of the batch
    outputs: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``image`` or ``text``."""
        assert self.tower is not None
        return self.tower.kind


class SiteFunctions(Protocol):
    """The table of sites. Shapes: tokens [B, N, d], per-layer linears [B, N, out].

    The tower calls every site on the tuner; a tuner asks the components that serve the site, in order, and with no
    component each call returns what it was given.
    """

    def reads_all_tokens(self, walk: Walk) -> bool:
        """Whether something is computed from rows that the feature does not depend on, such as a text's padding; if
        not, the tower may leave them out: columns of a batch of texts, and in the last block all rows but the pooled
        one as soon as nothing else depends on them. Sites then get [B, 1, d], the row ``walk.kept`` of each input."""

    def first_block(self, tower: Tower) -> int:
        """The first block of the tower in which something is trained; the number of blocks: none."""

    def observes(self, walk: Walk) -> bool:
        """Whether all that reads all tokens is content with those after attention, see :meth:`observe`."""

    def observe(self, walk: Walk, layer: int, tokens: Tensor) -> None:
        """All rows after attention of the last block, before all but the pooled one are left out of it."""

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        """Token rows at ``before_positions``, ``after_positions`` or ``after_ln_pre``."""

    def tokens(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        """The rows that enter block ``layer``; rows may be added, replaced, dropped or exchanged.

        The tower's own leading rows (class row, registers; ``tower.leading`` of them, none in some towers) stay in
        front. Of all components of a tuner at most one may put rows behind them and at most one at the end, since each
        finds its own rows by their place; both say how many in ``walk.rows``."""

    def norm(self, walk: Walk, layer: int, name: str, tokens: Tensor, normed: Tensor) -> Tensor:
        """The output of a LayerNorm: ``ln_1`` and ``ln_2`` of a block (and ``ln_attn``, ``ln_mlp`` inside its attention
        and MLP where it has them), ``ln_pre`` with ``layer`` −1; with the number of blocks the last one (``ln_post``,
        ``ln_final``) and ``ln_pool`` inside an attention pool."""

    def weight(self, walk: Walk, name: str, value: Tensor) -> Tensor:
        """The value used for the backbone parameter ``name`` (its state-dict name)."""

    def linear(self, walk: Walk, layer: int, name: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The output of the linear map ``q``, ``k``, ``v``, ``out``, ``fc1`` or ``fc2`` of block ``layer``; a gated MLP
        also has ``gate``."""

    def key_value(self, walk: Walk, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, N, d]; rows put in front of them are seen by every query."""

    def attention(self, walk: Walk, layer: int, tokens: Tensor, attended: Tensor) -> Tensor:
        """The rows after the attention residual; ``attended`` is what attention added."""

    def beside_mlp(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor | None:
        """What is added parallel to the MLP, computed from the rows after attention (before ``ln_2``)."""

    def block(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        """The rows that leave block ``layer``."""

    def pool(self, walk: Walk, tokens: Tensor, feature: Tensor) -> Tensor:
        """The feature [B, D'], given the rows that left the last block (the pooled one alone, [B, 1, d], where the
        tower left out the others) and the backbone's own feature [B, D]; one row a sample where a sample has several
        inputs."""
