"""Training samples to batches: images, captions, labels and seeds, all functions of (seed, epoch, position)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from reidtune.backbone.load import Backbone
from reidtune.config import RunConfig
from reidtune.data.batch import Batch, dropout_seeds, make_batch
from reidtune.data.captions import caption_ids
from reidtune.data.loader import Loaded, Share, everything, train_loader
from reidtune.data.modality_dropout import drop_modalities
from reidtune.data.record import Record
from reidtune.data.transforms import TrainTransform
from reidtune.fusion import present_of

if TYPE_CHECKING:
    from reidtune.training.frozen import FrozenRows


@dataclass(frozen=True)
class BatchSource:
    """Makes the batches of ``records``, of one caption each where ``texts``, of several ``modalities`` where named;
    ``labels`` maps identities to classes."""

    records: Sequence[Record]
    labels: Mapping[int, int]
    texts: bool
    backbone: Backbone
    config: RunConfig
    modalities: Sequence[str] = ()

    def batches(
        self,
        chosen: Sequence[Sequence[int]],
        epoch: int,
        *,
        start: int = 0,
        images: bool = True,
        workers: int = 0,
        frozen: FrozenRows | None = None,
        share: Share = everything,
    ) -> Iterator[Batch]:
        """One :class:`Batch` for each list of indices in ``chosen``, the first ``start`` passed over unread; without
        ``images``, or with ``frozen`` rows that stand for them, no file is read. Of a batch there are the rows that
        ``share`` names, as they are in the whole one; they may be none.

        Raises:
            DataError: an image cannot be read (it is named).
        """
        position = sum(len(batch) for batch in chosen[:start])
        loaded = self._load(chosen, epoch, start, images and frozen is None, workers, share)
        for whole, (pixels, labels, indices) in zip(chosen[start:], loaded, strict=True):
            place = position + share(len(whole)).start
            position += len(whole)
            if not len(indices):
                yield Batch(None, labels=labels, indices=indices)
                continue
            records = [self.records[index] for index in indices.tolist()]
            seed = self.config.seed
            ids = None
            if self.texts:
                masking = self.config.augmentation.mask_words
                ids = caption_ids(self.backbone.tokenizer, records, seed, epoch, place, masking)
            seeds = dropout_seeds(seed, epoch, place, len(records))
            batch = make_batch(pixels, records, labels, seeds, ids, indices, self.modalities)
            if frozen is not None:
                batch = replace(batch, frozen=frozen.take(indices))
            if self.modalities and batch.inputs is not None and (chance := self.config.augmentation.drop_modality):
                batch = replace(batch, present=drop_modalities(present_of(batch), seeds, chance))
            yield batch

    def _load(
        self, chosen: Sequence[Sequence[int]], epoch: int, start: int, images: bool, workers: int, share: Share
    ) -> Iterator[Loaded]:
        if images:
            augment = self.config.augmentation
            transform = TrainTransform(self.backbone.preprocess, augment.flip, augment.pad, augment.erase)
            yield from train_loader(
                self.records,
                self.labels,
                chosen,
                transform,
                self.config.seed,
                epoch,
                start,
                workers,
                self.modalities,
                share,
            )
            return
        for batch in chosen[start:]:
            own = batch[share(len(batch))]
            labels = torch.tensor([self.labels[self.records[index].identity] for index in own], dtype=torch.int64)
            yield None, labels, torch.tensor(list(own), dtype=torch.int64)
