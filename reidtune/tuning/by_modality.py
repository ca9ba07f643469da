"""A component of its own for each modality, where the method's paper has one for a single kind of image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.fusion import modality_of
from reidtune.tuning.component import Component

_KNOWN = ("kept", "seeds", "labels", "cameras", "scenes", "samples", "modality")  # of each image of a walk


class ByModality(Component):
    """Asks the part of an image's modality at the sites that the parts serve; ``parts`` are alike, in the order of the
    modalities, by whose places their tensors are named. Only sites that give rows back for rows can be served: not
    ``weight``, ``key_value`` or ``pool``. What a walk keeps is shared: no part may leave outputs or statistics there.
    """

    def __init__(self, parts: Sequence[Component]) -> None:
        super().__init__()
        self.parts = list(parts)
        for place, part in enumerate(parts):
            self.add_module(str(place), part)
        self.towers = self.parts[0].towers
        served = [site for site in ("weight", "key_value", "pool") if self.parts[0].serves(site)]
        if served:
            raise ValueError(f"{type(self.parts[0]).__name__} serves {served[0]}, which cannot differ between images")

    def serves(self, site: str) -> bool:
        return self.parts[0].serves(site)

    def first_block(self, tower: Tower) -> int:
        return self.parts[0].first_block(tower)

    def reads_all_tokens(self) -> bool:
        return any(part.reads_all_tokens() for part in self.parts)

    def observe(self, walk: Walk, layer: int, tokens: Tensor) -> None:
        for part, own, rows in self._shares(walk):
            part.observe(own, layer, tokens[rows])

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        return self._each(walk, lambda part, own, rows: part.embed(own, place, tokens[rows]))

    def tokens(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        return self._each(walk, lambda part, own, rows: part.tokens(own, layer, tokens[rows]))

    def norm(self, walk: Walk, layer: int, name: str, tokens: Tensor, normed: Tensor) -> Tensor:
        return self._each(walk, lambda part, own, rows: part.norm(own, layer, name, tokens[rows], normed[rows]))

    def linear(self, walk: Walk, layer: int, name: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        return self._each(walk, lambda part, own, rows: part.linear(own, layer, name, inputs[rows], outputs[rows]))

    def attention(self, walk: Walk, layer: int, tokens: Tensor, attended: Tensor) -> Tensor:
        return self._each(walk, lambda part, own, rows: part.attention(own, layer, tokens[rows], attended[rows]))

    def beside_mlp(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor | None:
        return self._each(walk, lambda part, own, rows: part.beside_mlp(own, layer, tokens[rows]))

    def block(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        return self._each(walk, lambda part, own, rows: part.block(own, layer, tokens[rows]))

    def _each(self, walk: Walk, ask: Callable[[Component, Walk, slice], Tensor | None]) -> Tensor:
        found = [ask(part, own, rows) for part, own, rows in self._shares(walk)]
        return torch.cat([part for part in found if part is not None])

    def _shares(self, walk: Walk) -> Iterator[tuple[Component, Walk, slice]]:
        """Each part, a walk that knows its images alone, and where they are: a batch comes modality by modality."""
        counts = torch.bincount(modality_of(walk), minlength=len(self.parts)).tolist()
        start = 0
        for part, count in zip(self.parts, counts, strict=True):
            if count:
                rows = slice(start, start + count)
                own = {name: value[rows] for name in _KNOWN if (value := getattr(walk, name)) is not None}
                yield part, replace(walk, **own), rows
                start += count
