"""How long captions are, in words and in tokens of CLIP's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from reidtune.data.census import spread
from reidtune.data.record import Record

CONTEXT = 77  # tokens of CLIP's text tower, the start and end of the text included
LONG_IN_WORDS = 62  # of 28,396 captions of CUHK-PEDES, all 53 over 77 tokens have more words than that, and 34 others
NEARLY = 8  # tokens below the limit from which a caption is counted as a whole


def caption_lengths(records: Sequence[Record], tokens: bool = True) -> dict[str, Any]:
    """What the captions of ``records`` are, as the object ``captions`` of ``reidtune data --json``.

    With ``tokens`` their lengths are counted with CLIP's tokenizer (which imports open_clip and torch), start and end
    included; ``long`` are those over 77, whose end no model reads. Without, ``long`` are those of more than 62 words,
    a guess. ``bare`` counts records without a caption, ``shared`` captions that describe more than one identity word
    for word.
    """
    captions = [caption for record in records for caption in record.captions]
    words = [len(caption.split()) for caption in captions]
    lengths = token_lengths(captions) if tokens and captions else None
    owners: dict[str, set[int]] = {}
    for record in records:
        for caption in record.captions:
            owners.setdefault(" ".join(caption.lower().split()), set()).add(record.identity)
    long = [size > CONTEXT for size in lengths] if lengths is not None else [size > LONG_IN_WORDS for size in words]
    return {
        "captions": len(captions),
        "bare": sum(not record.captions for record in records),
        "per_image": spread([len(record.captions) for record in records]),
        "words": spread(words),
        "tokens": None if lengths is None else spread(lengths),
        "limit": CONTEXT,
        "counted_in": "words" if lengths is None else "tokens",
        "long": sum(long),
        "long_examples": [caption for caption, is_long in zip(captions, long, strict=True) if is_long][:3],
        "shared": sum(len(people) > 1 for people in owners.values()),
    }


def token_lengths(captions: Sequence[str]) -> list[int]:
    """Tokens of each caption with start and end. Words are counted once each, and captions near the limit as a whole,
    so that cleaning across words cannot move one over it."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()

    @cache
    def of_word(word: str) -> int:
        return len(tokenizer.encode(word))

    lengths = []
    for caption in captions:
        length = 2 + sum(map(of_word, caption.split()))
        lengths.append(2 + len(tokenizer.encode(caption)) if length > CONTEXT - NEARLY else length)
    return lengths
