"""Records and captions to features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.batch import Batch, make_batch
from reidtune.data.loader import eval_loader
from reidtune.data.record import Record
from reidtune.data.transforms import EvalTransform

Encode = Callable[[Batch], Tensor]
EncodeTexts = Callable[[Tensor], Tensor]
Tokenizer = Callable[[list[str]], Tensor]


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
) -> Tensor:
    """Features of the records' images, L2-normalised: [N, D], float32, on the CPU.

    ``encode`` maps a batch to features [B, D]. With ``modalities`` it holds samples of them, of which every record has
    at least one; ``progress`` is told how many samples each batch had.

    Raises:
        DataError: an image cannot be read (it is named).
    """
    features: list[Tensor] = []
    done = 0
    for images in eval_loader(records, EvalTransform(preprocess), batch_size, workers, modalities):
        batch = make_batch(images, records[done : done + len(images)], modalities=modalities)
        done += len(images)
        features.append(F.normalize(encode(batch).float(), dim=-1).cpu())
        if progress is not None:
            progress(len(images))
    return torch.cat(features)


@torch.no_grad()
def embed_texts(
    encode_texts: EncodeTexts,
    captions: Sequence[str],
    tokenizer: Tokenizer,
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Features of captions, L2-normalised: [N, D], float32, on the CPU; equal captions have bit-equal features.

    ``encode_texts`` maps token ids [B, T] to features [B, D]; ``progress`` is told how many different captions each
    batch had.
    """
    different = list(dict.fromkeys(captions))
    places = {caption: place for place, caption in enumerate(different)}
    features: list[Tensor] = []
    for start in range(0, len(different), batch_size):
        chunk = different[start : start + batch_size]
        features.append(F.normalize(encode_texts(tokenizer(chunk)).float(), dim=-1).cpu())
        if progress is not None:
            progress(len(chunk))
    return torch.cat(features)[[places[caption] for caption in captions]]
