"""A component: one reusable trainable part, and the sites it serves."""

from __future__ import annotations

from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk

SITES = (
    "embed",
    "tokens",
    "norm",
    "weight",
    "linear",
    "key_value",
    "attention",
    "beside_mlp",
    "block",
    "pool",
)


class Component(nn.Module):
    """Base of all components. A subclass overrides the site functions it serves; the shapes are those of
    :class:`reidtune.backbone.walk.SiteFunctions`.

    A component holds only its own trainable tensors and knows nothing of any dataset. ``towers`` names the towers it
    acts in. ``transient`` names tensors, as prefixes, that training needs and a delta does not.
    """

    towers: tuple[str, ...] = ("image",)
    transient: tuple[str, ...] = ()
    first = 0  # what first_block says, for components that know it when they are made

    def first_block(self, tower: Tower) -> int:
        """The first block that this component has a part in: the rows that enter it are those of the backbone, and a
        tuner does not ask the component before. ``tower.layers``: a part in nothing but what comes behind the blocks
        (the last LayerNorm, the pooling, the projection); ``tower.layers + 1``: the feature is all that it reads.

        0 promises nothing. So does whoever acts at ``embed``, or with ``weight`` on what lies in front of the blocks.
        """
        return self.first

    def reads_all_tokens(self) -> bool:
        """Whether this component needs rows that the feature does not depend on: a text's padding, and rows other than
        the pooled one of the last block, from its queries on."""
        return False

    def observe(self, walk: Walk, layer: int, tokens: Tensor) -> None:
        """For a component that reads all tokens, but none behind attention of the last block: it gets them here [B, N,
        d], and afterwards the pooled row alone, ``walk.kept``, as all others do."""
        raise NotImplementedError

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        raise NotImplementedError

    def tokens(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        raise NotImplementedError

    def norm(self, walk: Walk, layer: int, name: str, tokens: Tensor, normed: Tensor) -> Tensor:
        raise NotImplementedError

    def weight(self, walk: Walk, name: str, value: Tensor) -> Tensor:
        raise NotImplementedError

    def linear(self, walk: Walk, layer: int, name: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        raise NotImplementedError

    def key_value(self, walk: Walk, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def attention(self, walk: Walk, layer: int, tokens: Tensor, attended: Tensor) -> Tensor:
        raise NotImplementedError

    def beside_mlp(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor | None:
        raise NotImplementedError

    def block(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        raise NotImplementedError

    def pool(self, walk: Walk, tokens: Tensor, feature: Tensor) -> Tensor:
        raise NotImplementedError

    def merge(self, values: dict[str, Tensor], tower: Tower) -> bool:
        """Write this component into backbone parameters: change ``values`` (state-dict name → a copy that may be
        written to) so that they alone give the features of one of its towers. False where that is impossible."""
        return False

    def auxiliary(self, statistics: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named scalar losses from the statistics that this component left in the walk, added up over the batch."""
        return {}

    def feature_width(self, tower: Tower, width: int) -> int:
        """The width of the feature of ``tower`` after this component's ``pool``; ``width`` is what it is without."""
        return width

    def serves(self, site: str) -> bool:
        return getattr(type(self), site) is not getattr(Component, site)
