"""Records to batches of images, by worker processes or none: the tensors are the same for every number of workers.

What a worker sends is 8-bit pixels; they become numbers in the main process (:mod:`reidtune.data.normalise`). Within
:func:`reidtune.data.reading.reading` the workers stay from one pass to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.check import check_files
from reidtune.data.image import read_image
from reidtune.data.kept_pixels import Shelf, file_key
from reidtune.data.normalise import normalise
from reidtune.data.reading import current
from reidtune.data.record import ImageFile, Record
from reidtune.data.transforms import Pixels, Transform, squash
from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.seeds import derive_seed

__all__ = ["Item", "Loaded", "check_files", "eval_loader", "read_image", "train_loader"]

Item = tuple[int, int]  # index of the record, seed of its augmentation
Loaded = tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]
Share = Callable[[int], slice]  # of how many rows, to those that are this process's


def everything(count: int) -> slice:
    """The share of a process that works alone."""
    return slice(0, count)


def train_loader(
    records: Sequence[Record],
    labels: Mapping[int, int],
    batches: Sequence[Sequence[int]],
    transform: Transform,
    seed: int,
    epoch: int,
    start: int = 0,
    workers: int = 0,
    modalities: Sequence[str] = (),
    share: Share = everything,
) -> Iterator[Loaded]:
    """The epoch's ``batches`` (lists of indices into ``records``) as ``(images, labels, indices)``.

    ``images`` is float32 [B, 3, H, W], or [B, M, 3, H, W] of M ``modalities``, zeros where a record lacks one;
    ``labels`` (of the identities) and ``indices`` are int64 [B]. The augmentation of an image is a function of
    ``seed``, ``epoch`` and its position in the epoch; modalities of a sample are augmented separately. The first
    ``start`` batches are passed over unread. Of a batch only the rows that ``share`` names are loaded; where these are
    none, ``images`` is ``None``.

    Raises ``DataError`` naming the file where an image cannot be read, also where a worker process reads it.
    """
    left = batches[start:]
    missing = {records[i].identity for batch in left for i in batch} - set(labels)
    if missing:
        raise DataError(
            f"{len(missing)} identities of the training records have no label, such as {min(missing)}.",
            "Junk (−1) and distractors (0) cannot be trained on; take the labels from the same records.",
        )

    def items() -> Iterator[list[Item]]:
        position = sum(len(batch) for batch in batches[:start])
        for batch in left:
            own = range(len(batch))[share(len(batch))]
            yield [(batch[place], derive_seed("item", seed, epoch, position + place)) for place in own]
            position += len(batch)

    loaded = _load(records, items(), len(left), transform, workers, modalities)
    for batch, (images, _) in zip(left, loaded, strict=True):
        own = batch[share(len(batch))]
        indices = torch.tensor(list(own), dtype=torch.int64)
        targets = torch.tensor([labels[records[i].identity] for i in own], dtype=torch.int64)
        yield images, targets, indices


def eval_loader(
    records: Sequence[Record],
    transform: Transform,
    batch_size: int,
    workers: int = 0,
    modalities: Sequence[str] = (),
) -> Iterator[torch.Tensor]:
    """The images of ``records`` in order, ``batch_size`` at a time: [B, 3, H, W], or [B, M, 3, H, W] of M
    ``modalities``, zeros where a record lacks one.

    Raises ``DataError`` naming the file where an image cannot be read.
    """
    chunks = _in_order(len(records), batch_size)
    loaded = _load(records, iter(chunks), len(chunks), transform, workers, modalities)
    return (images for images, _ in loaded if images is not None)


def readable_loader(
    records: Sequence[Record],
    transform: Transform,
    batch_size: int,
    workers: int = 0,
    modalities: Sequence[str] = (),
) -> Iterator[tuple[torch.Tensor | None, dict[int, ReidtuneError]]]:
    """As :func:`eval_loader`, but an image that cannot be read is left out of its batch: the other images, ``None``
    where there are none, and the error of each record that is left out, by its place in the batch."""
    chunks = _in_order(len(records), batch_size)
    return _load(records, iter(chunks), len(chunks), transform, workers, modalities, readable=True)


def _in_order(count: int, batch_size: int) -> list[list[Item]]:
    if batch_size < 1:
        raise SettingsError(f"The batch size is {batch_size}.", "Choose a batch size of at least 1.")
    return [[(i, 0) for i in range(start, min(start + batch_size, count))] for start in range(0, count, batch_size)]


class _View(NamedTuple):
    """One image of a sample: its place among the modalities, its file, its row among kept pixels."""

    place: int
    file: ImageFile
    row: int | None


class _Read(NamedTuple):
    """``pixels`` uint8 [B, (M,) 3, H, W] with what is ``erased`` [B, (M,) 4], of the samples that could be read; the
    error of each other one by its place; why no more pixels can be kept."""

    pixels: torch.Tensor
    erased: torch.Tensor
    errors: dict[int, ReidtuneError]
    trouble: str | None


@dataclass(frozen=True, slots=True)
class _Job:
    """A batch to read: the images of each sample and the seed of its augmentation. It travels to a worker process."""

    samples: list[tuple[list[_View], int]]
    transform: Transform
    modalities: int
    readable: bool
    shelf: Shelf | None

    def __call__(self) -> _Read:
        height, width = self.transform.preprocess.height, self.transform.preprocess.width
        views = max(1, self.modalities)
        pixels = torch.zeros((len(self.samples), views, 3, height, width), dtype=torch.uint8)
        if torch.utils.data.get_worker_info() is not None:
            pixels.share_memory_()  # type: ignore[no-untyped-call]  # where the main process finds them, without a copy
        arrays = pixels.numpy()
        erased = np.empty((len(self.samples), views, 4), np.int64)
        erased[:] = 0, 0, height, width  # all of it, where a view is missing
        errors: dict[int, ReidtuneError] = {}
        trouble: list[str] = []
        for number, (images, seed) in enumerate(self.samples):
            try:
                for place, file, row in images:
                    source = self._squashed(file, row, trouble)
                    # The place decides the augmentation, whichever other views there are.
                    seed_here, out = derive_seed(seed, place), arrays[number, place]
                    erased[number, place] = self.transform.vary(source, seed_here, out)
            except ReidtuneError as error:  # returned, since torch would rewrite it
                errors[number] = error
                if not self.readable:
                    break
        if errors:
            good = [number for number in range(len(self.samples)) if number not in errors]
            pixels, erased = pixels[good], erased[good]
        if not self.modalities:
            pixels, erased = pixels[:, 0], erased[:, 0]
        return _Read(pixels, torch.from_numpy(erased), errors, trouble[0] if trouble else None)

    def _squashed(self, file: ImageFile, row: int | None, trouble: list[str]) -> Pixels:
        key = None if self.shelf is None or row is None else file_key(file)  # before the file is read
        if self.shelf is None or row is None or key is None:
            return squash(read_image(file), self.transform.preprocess)
        pixels = self.shelf.take(row, key)
        if pixels is None:
            pixels = squash(read_image(file), self.transform.preprocess)
            if not trouble:
                try:
                    self.shelf.put(row, key, pixels)
                except OSError as error:
                    trouble.append(error.strerror or str(error))
        return pixels


def _load(
    records: Sequence[Record],
    items: Iterator[list[Item]],
    count: int,
    transform: Transform,
    workers: int,
    modalities: Sequence[str] = (),
    readable: bool = False,
) -> Iterator[tuple[torch.Tensor | None, dict[int, ReidtuneError]]]:
    reading = current()

    def job(batch: list[Item]) -> _Job:
        kept = reading.kept
        samples = [(_views(records[index], modalities, transform.preprocess), seed) for index, seed in batch]
        return _Job(samples, transform, len(modalities), readable, None if kept is None else kept.shelf)

    for read in reading.run(map(job, items), workers, count):
        if read.trouble:
            reading.give_up(read.trouble)
        if read.errors and not readable:
            raise next(iter(read.errors.values()))
        images = None
        if len(read.pixels):
            images = normalise(read.pixels, read.erased, transform.preprocess, reading.device)
        yield images, read.errors


def _views(record: Record, modalities: Sequence[str], preprocess: Preprocess) -> list[_View]:
    if not modalities:
        named = [(0, record.images[0])]
    else:
        both = zip(record.modalities, record.images, strict=True)
        named = [(modalities.index(name), file) for name, file in both if name in modalities]
    kept = current().kept
    return [_View(place, file, None if kept is None else kept.row(file, preprocess)) for place, file in named]
