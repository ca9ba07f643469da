"""Learnable rows in the token sequence of one tower or of both, replaced before every prompted block.

The family of independent and coupled prompts: CoOp (Zhou et al. 2022, arXiv 2109.01134), IVLP and MaPLe (Khattak et al.
2023, arXiv 2210.03117), CSKT (Liu et al. 2024, arXiv 2309.09496).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reidtune.backbone.text_tower import TextTower
from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.errors import SettingsError
from reidtune.tuning.component import Component

STD = 0.02  # of initial prompts and projections


def check_rows(tower: Tower, count: int) -> None:
    """Raise ``SettingsError`` where ``count`` rows leave a text tower no room for words."""
    if not isinstance(tower, TextTower):
        return
    context = tower.context
    if count + 2 >= context:
        raise SettingsError(
            f"{count} prompt rows leave no room for words: a text has {context} tokens.", "Lower settings.tokens."
        )


class PromptRows(Component):
    """Base: where prompt rows stand. A subclass says what they are.

    Image tower: at the end of the sequence, without a position, put there before ``ln_pre``. Text tower: after the
    start token (in front of everything where the tokenizer has none), with positions; the words move right, and what no
    longer fits is cut before the end token. Before block l = 1 … depth−1 the rows are replaced; after that they are
    carried on.
    """

    def rows(self, kind: str, layer: int) -> Tensor:
        """The rows [n, d] that enter block ``layer`` of the ``image`` or ``text`` tower."""
        raise NotImplementedError

    def depth(self, kind: str) -> int:
        """How many blocks of the tower get rows of their own."""
        raise NotImplementedError

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        if walk.kind == "image" and place == "after_positions":
            rows = self._batch(walk, 0, tokens)
            walk.rows.behind = rows.shape[1]
            return torch.cat([tokens, rows], dim=1)
        if walk.kind == "text" and place == "before_positions":
            rows = self._batch(walk, 0, tokens)
            tokens = make_room(walk, tokens, rows.shape[1])
            return self._placed(walk, tokens, rows)
        return tokens

    def tokens(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        if not 0 < layer < self.depth(walk.kind):
            return tokens
        rows = self._batch(walk, layer, tokens)
        count = rows.shape[1]
        if walk.kind == "image":
            return torch.cat([tokens[:, :-count], rows], dim=1)
        return self._placed(walk, tokens, rows)

    def _placed(self, walk: Walk, tokens: Tensor, rows: Tensor) -> Tensor:
        """``rows`` in the place that is free for them in a text."""
        start = text_tower_of(walk).start
        return torch.cat([tokens[:, :start], rows, tokens[:, start + rows.shape[1] :]], dim=1)

    def _batch(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        return self.rows(walk.kind, layer).to(tokens.dtype).expand(len(tokens), -1, -1)


class TowerPrompts(PromptRows):
    """``count`` rows of its own for each of the first ``depth`` blocks of one tower, N(0, 0.02)."""

    def __init__(self, tower: Tower, count: int, depth: int) -> None:
        super().__init__()
        check_rows(tower, count)
        self.towers = (tower.kind,)
        self.prompts = nn.Parameter(torch.randn(min(depth, tower.layers), count, tower.width) * STD)

    def rows(self, kind: str, layer: int) -> Tensor:
        return self.prompts[layer]

    def depth(self, kind: str) -> int:
        return len(self.prompts)


class CoupledPrompts(PromptRows):
    """Rows for the text tower, and the same rows through a linear map a block for the image tower (MaPLe)."""

    towers = ("image", "text")

    def __init__(self, image: Tower, text: Tower, count: int, depth: int) -> None:
        super().__init__()
        check_rows(text, count)
        depth = min(depth, image.layers, text.layers)
        self.prompts = nn.Parameter(torch.randn(depth, count, text.width) * STD)
        self.to_image = _projections(depth, text.width, image.width)

    def rows(self, kind: str, layer: int) -> Tensor:
        prompts = self.prompts[layer]
        if kind == "text":
            return prompts
        mapped: Tensor = self.to_image[layer](prompts)
        return mapped

    def depth(self, kind: str) -> int:
        return len(self.prompts)


class BidirectionalPrompts(PromptRows):
    """Rows of both towers, each also mapped into the other (CSKT's bidirectional prompts transferring).

    The image tower gets [F_l(P^t_l); P^v_l], the text tower [P^t_l; G_l(P^v_l)], each 2 · ``count`` rows; F_l and G_l
    are linear maps of block l with biases.
    """

    towers = ("image", "text")

    def __init__(self, image: Tower, text: Tower, count: int, depth: int) -> None:
        super().__init__()
        check_rows(text, 2 * count)
        depth = min(depth, image.layers, text.layers)
        self.text = nn.Parameter(torch.randn(depth, count, text.width) * STD)
        self.image = nn.Parameter(torch.randn(depth, count, image.width) * STD)
        self.to_image = _projections(depth, text.width, image.width)
        self.to_text = _projections(depth, image.width, text.width)

    def rows(self, kind: str, layer: int) -> Tensor:
        text, image = self.text[layer], self.image[layer]
        if kind == "image":
            return torch.cat([self.to_image[layer](text).to(image.dtype), image])
        return torch.cat([text, self.to_text[layer](image).to(text.dtype)])

    def depth(self, kind: str) -> int:
        return len(self.text)


def make_room(walk: Walk, tokens: Tensor, count: int) -> Tensor:
    """Move the words of text rows [B, T, d] right by ``count``, behind the start token where there is one → [B, min(C,
    T + count), d].

    ``walk.ids`` is replaced by ids [B, …] that agree, with placeholders in the rows made free (their embeddings are
    meaningless). In a text of more than C − count − 2 words the last ones are cut and the end token closes it. The ids
    that came in are not changed.
    """
    ids, tower = walk.ids, text_tower_of(walk)
    assert ids is not None
    start, end = tower.start, tower.ends(ids)
    length = min(tower.context, ids.shape[1] + count)
    source = (torch.arange(length, device=ids.device) - count).clamp(min=start).repeat(len(ids), 1)
    source[:, :start] = torch.arange(start, device=ids.device)
    source[:, -1] = torch.where(end + count >= tower.context, end, source[:, -1])
    moved = ids.gather(1, source)
    moved[:, start : start + count] = tower.placeholder
    walk.ids = moved
    return tokens.gather(1, source[..., None].expand(-1, -1, tokens.shape[-1]))


def text_tower_of(walk: Walk) -> TextTower:
    """The text tower that is walked."""
    assert isinstance(walk.tower, TextTower)
    return walk.tower


def _projections(depth: int, inputs: int, outputs: int) -> nn.ModuleList:
    """A linear map a block, N(0, 0.02), bias 0."""
    maps = nn.ModuleList(nn.Linear(inputs, outputs) for _ in range(depth))
    for linear in maps:
        nn.init.normal_(linear.weight, std=STD)  # type: ignore[arg-type]
        nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
    return maps
