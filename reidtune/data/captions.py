"""Captions as samples: every caption of an image is one, and its words become token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from reidtune.data.masking import mask_words
from reidtune.data.record import Record
from reidtune.seeds import derive_seed

Tokenizer = Callable[[list[str]], Tensor]


def one_caption_each(records: Sequence[Record]) -> list[Record]:
    """A record a caption, with the image's other facts: record by record, caption by caption. Records without a
    caption give none."""
    return [replace(record, captions=(caption,)) for record in records for caption in record.captions]


def caption_ids(
    tokenizer: Tokenizer, records: Sequence[Record], seed: int, epoch: int, start: int, masking: float
) -> Tensor:
    """Token ids [B, T] of the first captions of ``records``, which stand at positions ``start`` … of the epoch.

    ``masking`` is the probability with which a word is masked; which ones follows from (seed, epoch, position).
    """
    ids = tokenizer([record.captions[0] for record in records])
    if not masking:
        return ids
    return mask_words(ids, [derive_seed("mask", seed, epoch, start + place) for place in range(len(records))], masking)
