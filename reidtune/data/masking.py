"""Masking words of captions as an augmentation (IRRA, Jiang and Ye 2023, arXiv 2303.12501, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reidtune.errors import SettingsError

_MASKED, _RANDOM = 0.8, 0.9  # of the chosen words, up to here: the mask; up to here: a random word; the rest stays


def mask_words(ids: Tensor, seeds: Sequence[int], probability: float = 0.15) -> Tensor:
    """Token ids [B, T] int64 of CLIP's vocabulary with some words masked; a new tensor. What becomes of caption b is a
    function of its words and ``seeds[b]`` alone, however far it is padded.

    Each word is chosen with ``probability``; where none is, one is, each as likely. Of the chosen, 80 % become the
    mask, 10 % a random word (id 1 … the mask), 10 % stay. The mask is the id below the start token's: 49405, the last
    word of the vocabulary, taken for it as in IRRA. Start, end and padding are never chosen, nor is
    "!", whose id 0 pads too.

    Raises ``SettingsError`` where the ids are not CLIP's: each caption begins with the start token, and the end token,
    the highest id, is the next one.
    """
    if not len(ids):
        return ids.clone()
    start = int(ids[0, 0])
    if not bool(((ids[:, 0] == start) & (ids.amax(1) == start + 1)).all()):
        raise SettingsError(
            "Words can be masked for CLIP's tokenizer only, and the texts of this backbone are numbered otherwise.",
            "Set augmentation.mask_words to 0.",
        )
    mask = start - 1
    draw = _draws(seeds, ids.shape[1]).to(ids.device)
    words = (ids > 0) & (ids < start)
    chosen = words & (draw[..., 0] < probability)
    lowest = draw[..., 0].masked_fill(~words, 2.0).argmin(1, keepdim=True)
    chosen |= words & ~chosen.any(1, keepdim=True) & torch.zeros_like(words).scatter_(1, lowest, True)
    random = (1 + (draw[..., 2] * mask).long()).clamp(max=mask)
    fate = torch.where(draw[..., 1] < _MASKED, mask, torch.where(draw[..., 1] < _RANDOM, random, ids))
    return torch.where(chosen, fate, ids)


def _draws(seeds: Sequence[int], length: int) -> Tensor:
    """Uniform numbers [B, T, 3] in [0, 1): for the choice, the fate and the random word."""
    generator = torch.Generator()
    return torch.stack([torch.rand(length, 3, generator=generator.manual_seed(seed)) for seed in seeds])
