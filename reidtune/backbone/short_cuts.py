"""How a tower computes less and keeps less with the same outcome: rows that nothing reads, blocks computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from reidtune.backbone.walk import Walk

Block = Callable[[Walk, Tensor], Tensor]


def computed_again(block: Block, walk: Walk, tokens: Tensor) -> Tensor:
    """``block`` of these rows, computed again in the backward pass (Chen et al. 2016, arXiv 1604.06174). It then meets
    the walk as it is now, and what it leaves there is dropped."""
    before, walks = _copied(walk), [walk]

    def run(tokens: Tensor) -> Tensor:
        return block(walks.pop() if walks else _copied(before), tokens)

    found: Tensor = checkpoint(run, tokens, use_reentrant=False)
    return found


def _copied(walk: Walk) -> Walk:
    """A walk that knows the same, and whose changes stay its own."""
    return replace(walk, rows=replace(walk.rows), outputs={}, statistics={}, state=dict(walk.state))


@contextmanager
def kept(walk: Walk, rows: Tensor | None) -> Iterator[None]:
    """Within, sites get these rows [B] alone. Left also where a block that is computed again is broken off."""
    walk.kept = rows
    try:
        yield
    finally:
        walk.kept = None


def picked(walk: Walk, tokens: Tensor) -> Tensor:
    """Of rows [B, N, d] those that are kept, [B, 1, d]; all where all are, or where they are picked already."""
    if walk.kept is None or tokens.shape[1] == 1:
        return tokens
    return tokens[torch.arange(len(tokens), device=tokens.device), walk.kept].unsqueeze(1)


def apart(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[Tensor]:
    """``after``, what components made of ``before``, views of one product: where some were replaced, the others are
    copied, since a view would keep the whole product for the backward pass."""
    same = [new is old for new, old in zip(after, before, strict=True)]
    if all(same) or not torch.is_grad_enabled():
        return list(after)
    return [new.clone() if stays else new for new, stays in zip(after, same, strict=True)]
