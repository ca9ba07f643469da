"""Records and captions to features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.batch import Batch, make_batch
from reidtune.data.loader import eval_loader, readable_loader
from reidtune.data.record import Record
from reidtune.data.transforms import EvalTransform
from reidtune.errors import ReidtuneError
from reidtune.retrieval.feature_cache import FeatureCache
from reidtune.team import ALONE, Team, in_rounds

Encode = Callable[[Batch], Tensor]
EncodeTexts = Callable[[Tensor], Tensor]
Tokenizer = Callable[[list[str]], Tensor]
FrozenInputs = Callable[[Sequence[Record]], Tensor]
"""Records to what stands for their images, see :class:`reidtune.data.batch.Batch`; no file is read then."""
T = TypeVar("T")


@torch.no_grad()
def embed_records(
    encode: Encode,
    records: Sequence[Record],
    preprocess: Preprocess,
    *,
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    modalities: Sequence[str] = (),
    cache: FeatureCache | None = None,
    frozen: FrozenInputs | None = None,
    team: Team = ALONE,
) -> Tensor:
    """Features of the records' images, L2-normalised: [N, D], float32, on the CPU.

    ``encode`` maps a batch to features [B, D]. With ``modalities`` it holds samples of them, of which every record has
    at least one; ``progress`` is told how many samples each batch had. What ``cache`` holds is not computed, and what
    is computed is kept there; ``frozen`` gives what stands for the images. Without a cache the processes of a ``team``
    share the work, and each gets all features.

    Raises:
        DataError: an image cannot be read (it is named).
    """

    def embed(some: Sequence[Record]) -> Iterator[tuple[list[int], Tensor]]:
        if frozen is not None:
            return _embed_frozen(encode, some, frozen, batch_size, modalities)
        return embed_batches(encode, some, preprocess, batch_size=batch_size, workers=workers, modalities=modalities)

    if cache is not None:
        return cache.records(records, modalities, embed, progress)
    return _together(records, embed, batch_size, team, progress)


@torch.no_grad()
def embed_batches(
    encode: Encode,
    records: Sequence[Record],
    preprocess: Preprocess,
    *,
    batch_size: int = 64,
    workers: int = 0,
    modalities: Sequence[str] = (),
    broken: Callable[[int, ReidtuneError], None] | None = None,
) -> Iterator[tuple[list[int], Tensor]]:
    """As :func:`embed_records`, a batch at a time: the places of the records [B] and their features [B, D].

    With ``broken``, a record of which an image cannot be read is left out of its batch, and ``broken`` is told its
    place and the error; a batch may then be empty and is left out as well.
    """
    transform = EvalTransform(preprocess)
    loaded: Iterator[tuple[Tensor | None, dict[int, ReidtuneError]]]
    if broken is None:
        loaded = ((images, {}) for images in eval_loader(records, transform, batch_size, workers, modalities))
    else:
        loaded = readable_loader(records, transform, batch_size, workers, modalities)
    for chunk, (images, errors) in zip(_chunks(len(records), batch_size), loaded, strict=True):
        for place, error in errors.items():
            assert broken is not None
            broken(chunk[place], error)
        if images is None:
            continue
        places = [row for place, row in enumerate(chunk) if place not in errors]
        batch = make_batch(images, [records[place] for place in places], modalities=modalities)
        yield places, F.normalize(encode(batch).float(), dim=-1).cpu()


def _chunks(count: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def _embed_frozen(
    encode: Encode, records: Sequence[Record], frozen: FrozenInputs, batch_size: int, modalities: Sequence[str]
) -> Iterator[tuple[list[int], Tensor]]:
    for chunk in _chunks(len(records), batch_size):
        some = [records[place] for place in chunk]
        batch = replace(make_batch(None, some, modalities=modalities), frozen=frozen(some))
        yield list(chunk), F.normalize(encode(batch).float(), dim=-1).cpu()


@torch.no_grad()
def embed_texts(
    encode_texts: EncodeTexts,
    captions: Sequence[str],
    tokenizer: Tokenizer,
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
    cache: FeatureCache | None = None,
    team: Team = ALONE,
) -> Tensor:
    """Features of captions, L2-normalised: [N, D], float32, on the CPU; equal captions have bit-equal features.

    ``encode_texts`` maps token ids [B, T] to features [B, D]; ``progress`` is told how many different captions each
    batch had; ``cache`` and ``team`` as in :func:`embed_records`.
    """
    different = list(dict.fromkeys(captions))
    places = {caption: place for place, caption in enumerate(different)}

    def embed(some: Sequence[str]) -> Iterator[tuple[list[int], Tensor]]:
        for chunk in _chunks(len(some), batch_size):
            ids = tokenizer([some[place] for place in chunk])
            yield list(chunk), F.normalize(encode_texts(ids).float(), dim=-1).cpu()

    rows = [places[caption] for caption in captions]
    if cache is not None:
        return cache.texts(different, embed, progress)[rows]
    return _together(different, embed, batch_size, team, progress)[rows]


def _together(
    items: Sequence[T],
    embed: Callable[[Sequence[T]], Iterator[tuple[list[int], Tensor]]],
    batch_size: int,
    team: Team,
    progress: Callable[[int], None] | None,
) -> Tensor:
    features: list[Tensor] = []
    for part in in_rounds(items, lambda some: (rows for _, rows in embed(some)), batch_size, team):
        features.append(part)
        if progress is not None:
            progress(len(part))
    return torch.cat(features)


def embed_both(
    encode: Encode,
    preprocess: Preprocess,
    query: Sequence[Record],
    gallery: Sequence[Record],
    *,
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    modalities: Sequence[str] = (),
    cache: FeatureCache | None = None,
    frozen: FrozenInputs | None = None,
    team: Team = ALONE,
) -> tuple[Tensor, Tensor]:
    """Features of query [Q, D] and gallery [G, D], L2-normalised; a record in both is embedded once, and what ``cache``
    holds not at all."""
    unique = {id(record): record for record in (*query, *gallery)}
    places = {key: place for place, key in enumerate(unique)}
    features = embed_records(
        encode,
        list(unique.values()),
        preprocess,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
        modalities=modalities,
        cache=cache,
        frozen=frozen,
        team=team,
    )
    one, other = ([places[id(record)] for record in records] for records in (query, gallery))
    return features[one], features[other]


def embed_pairs(
    encode: Encode,
    encode_texts: EncodeTexts,
    tokenizer: Tokenizer,
    preprocess: Preprocess,
    captions: Sequence[Record],
    images: Sequence[Record],
    *,
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    cache: FeatureCache | None = None,
    frozen: FrozenInputs | None = None,
    team: Team = ALONE,
) -> tuple[Tensor, Tensor]:
    """Features of the captions [Q, D] of records with one caption each, and of the images [G, D] of others,
    L2-normalised. :func:`reidtune.retrieval.scoring.rank_features` ranks images for captions, or captions for images,
    whichever come first.

    Raises:
        DataError: an image cannot be read.
    """
    common: dict[str, Any] = {"batch_size": batch_size, "progress": progress, "cache": cache, "team": team}
    pictures = embed_records(encode, images, preprocess, workers=workers, frozen=frozen, **common)
    texts = [record.captions[0] for record in captions]
    return embed_texts(encode_texts, texts, tokenizer, **common), pictures
