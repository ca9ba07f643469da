"""What the frozen text encoder knows of a modality: its words after every block, and their feature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.backbone.load import Backbone
from reidtune.backbone.walk import Walk
from reidtune.tuning.component import Component
from reidtune.tuning.tuner import Tuner


class _Recorder(Component):
    """Keeps the rows that leave every block of the text tower."""

    towers = ("text",)

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[Tensor] = []

    def reads_all_tokens(self) -> bool:
        return True

    def block(self, walk: Walk, layer: int, tokens: Tensor) -> Tensor:
        self.blocks.append(tokens)
        return tokens


@torch.no_grad()
def text_prior(backbone: Backbone, texts: Sequence[str], rows: int, layers: int) -> Tensor:
    """The words of ``texts`` as rows [layers, M, rows, d_t], for each block of an image tower of ``layers`` blocks.

    W_l = T_l(W_{l−1}) are the words and the end token of a text after block l of the frozen text encoder, averaged to
    ``rows`` by adaptive pooling and scaled to length 1: the rows of a text encoder are so long (20 and more) that a
    step of Adam on a map of them would move a prompt by far more than its own size. The start token is left out: it
    sees itself alone and is the same in every text. Where the towers differ in depth, the block at the same share of
    the depth is taken.
    """
    backbone.text.require_clip_words("A prior from the text encoder")
    recorder = _Recorder()
    ids = backbone.tokenizer(list(texts)).to(backbone.device)
    backbone.text(ids, Tuner({"recorder": recorder}))
    ends = ids.argmax(dim=-1).tolist()
    depth = len(recorder.blocks)
    pooled = []
    for layer in range(layers):
        words = recorder.blocks[-(-(layer + 1) * depth // layers) - 1].float()
        pooled.append(torch.stack([_pool(words[place, 1 : end + 1], rows) for place, end in enumerate(ends)]))
    return F.normalize(torch.stack(pooled), dim=-1)


@torch.no_grad()
def text_features(backbone: Backbone, texts: Sequence[str]) -> Tensor:
    """Features [M, D] of ``texts`` from the frozen text encoder, not normalised."""
    return backbone.text(backbone.tokenizer(list(texts)).to(backbone.device), Tuner()).float()


def _pool(words: Tensor, rows: int) -> Tensor:
    """[N, d] → [rows, d]"""
    return F.adaptive_avg_pool1d(words.T[None], rows)[0].T
