"""``torch.compile`` for the blocks of the towers, where it works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch._dynamo as dynamo
from torch import Tensor

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import SiteFunctions, Walk

_VARIANTS = 8  # compiled forms of one block: shapes, whether something is trained before it


@contextmanager
def compiled(towers: Iterable[Tower], say: Callable[[str], None], backend: str = "inductor") -> Iterator[None]:
    """Within, blocks of these towers run compiled while autograd is on. Where compiling fails, a sentence says so and
    they run as they are, also those of the other towers."""
    chosen = list(towers)
    # A block is compiled for each layer, since the tuner has other tensors there.
    limit = "recompile_limit" if hasattr(dynamo.config, "recompile_limit") else "cache_size_limit"
    before = getattr(dynamo.config, limit)
    setattr(dynamo.config, limit, max(before, _VARIANTS * max((tower.layers for tower in chosen), default=1)))
    try:
        try:
            blocks = [torch.compile(tower.block, backend=backend) for tower in chosen]
        except RuntimeError as error:  # not for this Python, or not on this system
            say(_sentence(error))
            blocks = []
        for tower, block in zip(chosen, blocks, strict=False):
            tower.compiled = _attempt(tower, block, chosen, say)
        yield
    finally:
        setattr(dynamo.config, limit, before)
        for tower in chosen:
            tower.compiled = None


def _attempt(
    tower: Tower, block: Callable[..., Tensor], towers: list[Tower], say: Callable[[str], None]
) -> Callable[..., Tensor]:
    def attempt(walk: Walk, tuner: SiteFunctions, layer: int, tokens: Tensor) -> Tensor:
        try:
            return block(walk, tuner, layer, tokens)
        except (dynamo.exc.TorchDynamoException, ImportError) as error:
            say(_sentence(getattr(error, "inner_exception", error)))
            for other in towers:
                other.compiled = None
            return tower.block(walk, tuner, layer, tokens)

    return attempt


def _sentence(cause: BaseException) -> str:
    said = f"{type(cause).__name__}: {str(cause).strip()}".splitlines()[0]
    return f"torch.compile does not work here ({said}); the training goes on without it."
