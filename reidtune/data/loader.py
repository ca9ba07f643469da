"""Records to batches of images, by worker processes or none: the tensors are the same for every number of workers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from reidtune.data.check import check_files
from reidtune.data.image import read_image
from reidtune.data.record import Record
from reidtune.data.transforms import Transform
from reidtune.errors import DataError, ReidtuneError, SettingsError
from reidtune.seeds import derive_seed

__all__ = ["Item", "Loaded", "check_files", "eval_loader", "read_image", "train_loader"]

Item = tuple[int, int]  # index of the record, seed of its augmentation
Loaded = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
_GRACE = 120  # seconds from SIGTERM to the end of a worker that is still there


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
) -> Iterator[Loaded]:
    """The epoch's ``batches`` (lists of indices into ``records``) as ``(images, labels, indices)``.

    ``images`` is float32 [B, 3, H, W], or [B, M, 3, H, W] of M ``modalities``, zeros where a record lacks one;
    ``labels`` (of the identities) and ``indices`` are int64 [B]. The augmentation of an image is a function of
    ``seed``, ``epoch`` and its position in the epoch; modalities of a sample are augmented separately. The first
    ``start`` batches are passed over unread.

    Raises ``DataError`` naming the file where an image cannot be read, also where a worker process reads it.
    """
    position = sum(len(batch) for batch in batches[:start])
    left = batches[start:]
    items: list[list[Item]] = []
    for batch in left:
        places = range(position, position + len(batch))
        items.append([(i, derive_seed("item", seed, epoch, place)) for i, place in zip(batch, places, strict=True)])
        position += len(batch)
    missing = {records[i].identity for batch in left for i in batch} - set(labels)
    if missing:
        raise DataError(
            f"{len(missing)} identities of the training records have no label, such as {min(missing)}.",
            "Junk (−1) and distractors (0) cannot be trained on; take the labels from the same records.",
        )
    for batch, images in zip(left, _load(records, items, transform, workers, modalities), strict=True):
        indices = torch.tensor(list(batch), dtype=torch.int64)
        targets = torch.tensor([labels[records[i].identity] for i in batch], dtype=torch.int64)
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
    return _load(records, _in_order(len(records), batch_size), transform, workers, modalities)


def readable_loader(
    records: Sequence[Record],
    transform: Transform,
    batch_size: int,
    workers: int = 0,
    modalities: Sequence[str] = (),
) -> Iterator[tuple[torch.Tensor | None, dict[int, ReidtuneError]]]:
    """As :func:`eval_loader`, but an image that cannot be read is left out of its batch: the other images, ``None``
    where there are none, and the error of each record that is left out, by its place in the batch."""
    return _load(records, _in_order(len(records), batch_size), transform, workers, modalities, _stack_readable)


def _in_order(count: int, batch_size: int) -> list[list[Item]]:
    if batch_size < 1:
        raise SettingsError(f"The batch size is {batch_size}.", "Choose a batch size of at least 1.")
    return [[(i, 0) for i in range(start, min(start + batch_size, count))] for start in range(0, count, batch_size)]


class _Images(TorchDataset[Any]):
    """One sample by (index, seed). An error of the user's data is returned, since a worker would rewrite it."""

    def __init__(self, records: Sequence[Record], transform: Transform, modalities: Sequence[str] = ()) -> None:
        self.records = records
        self.transform = transform
        self.modalities = modalities

    def __getitem__(self, item: Item) -> torch.Tensor | ReidtuneError:
        index, seed = item
        record = self.records[index]
        try:
            if not self.modalities:
                return self.transform(read_image(record.images[0]), derive_seed(seed, 0))
            views: dict[str, torch.Tensor] = {}
            for name, file in zip(record.modalities, record.images, strict=True):
                if name in self.modalities:  # the place decides the augmentation, whichever others there are
                    views[name] = self.transform(read_image(file), derive_seed(seed, self.modalities.index(name)))
        except ReidtuneError as error:
            return error
        blank = torch.zeros_like(next(iter(views.values())))
        return torch.stack([views.get(name, blank) for name in self.modalities])


def _stack(samples: list[torch.Tensor | ReidtuneError]) -> torch.Tensor | ReidtuneError:
    for sample in samples:
        if isinstance(sample, ReidtuneError):
            return sample
    return torch.stack([sample for sample in samples if isinstance(sample, torch.Tensor)])


def _stack_readable(
    samples: list[torch.Tensor | ReidtuneError],
) -> tuple[torch.Tensor | None, dict[int, ReidtuneError]]:
    good = [sample for sample in samples if isinstance(sample, torch.Tensor)]
    errors = {place: sample for place, sample in enumerate(samples) if isinstance(sample, ReidtuneError)}
    return torch.stack(good) if good else None, errors


def _load(
    records: Sequence[Record],
    items: list[list[Item]],
    transform: Transform,
    workers: int,
    modalities: Sequence[str] = (),
    stack: Callable[[list[torch.Tensor | ReidtuneError]], Any] = _stack,
) -> Iterator[Any]:
    if workers < 0:
        raise SettingsError(f"The number of workers is {workers}.", "Choose 0 (none) or more.")
    loader = DataLoader(
        _Images(records, transform, modalities),
        batch_sampler=items,
        num_workers=min(workers, len(items)),
        collate_fn=stack,
        prefetch_factor=2 if workers and items else None,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # else every pass would draw from torch's own, and a resumed run would differ
    )
    try:
        for images in loader:
            if isinstance(images, ReidtuneError):
                raise images
            yield images
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ReidtuneError(
            "A process that reads images ended unexpectedly, most likely for want of memory or shared memory.",
            "Use fewer workers (0 reads the images in the main process), or a smaller batch.",
        ) from error


def _start_worker(_: int) -> None:
    """Leave Ctrl-C and SIGTERM to the main process, which finishes its step first and then ends the workers. Both may
    be sent to a whole group of processes (by a terminal, timeout, Slurm); a worker that nobody ends leaves by itself
    after a while."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _leave_later)


def _leave_later(number: int, frame: FrameType | None) -> None:
    signal.alarm(_GRACE)
