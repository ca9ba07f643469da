"""A component: one reusable trainable part, and the sites it serves."""

from __future__ import annotations

from collections.abc import Mapping

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
    acts in. ``reads_all_tokens`` says that it needs every row of every block, which switches off the tower's short
    cuts. ``routed`` names tensors whose gradient depends on routing, as prefixes.
    """

    towers: tuple[str, ...] = ("image",)
    reads_all_tokens = False
    routed: tuple[str, ...] = ()

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

    def merged(self, towers: Mapping[str, Tower]) -> dict[str, Tensor] | None:
        """Differences to backbone parameters (state-dict name → tensor of its shape) that replace this component at
        inference, or ``None`` where it cannot be merged into weights."""
        return None

    def serves(self, site: str) -> bool:
        return getattr(type(self), site) is not getattr(Component, site)
