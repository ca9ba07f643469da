"""The index of a folder: the features of its images, kept in a file and brought up to date when they are needed."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.image import read_image
from reidtune.data.record import ImageFile
from reidtune.data.scan import OWN_FOLDER, show
from reidtune.data.transforms import EvalTransform
from reidtune.errors import DataError, SettingsError
from reidtune.paths import cache_folder
from reidtune.retrieval.files import Listing, list_images
from reidtune.retrieval.index_file import IndexData, IndexFileError, read_index, write_index

SAVE_SECONDS = 30.0  # how often a long indexing is written, for the case that the process is killed
_AHEAD = 2  # batches that are read while the model works


@dataclass(frozen=True)
class Embedding:
    """What turns images into features, and what tells these features from all others.

    ``encode`` maps preprocessed images [B, 3, H, W] to features [B, ``width``]; ``key`` is the delta's digest, or the
    backbone's fingerprint where there is none: both cover the weights and the preprocessing.
    """

    encode: Callable[[Tensor], Tensor]
    preprocess: Preprocess
    width: int
    key: str


@dataclass
class FolderIndex:
    """An index that is up to date.

    ``names`` are relative to ``folder``, sorted; ``features`` [N, D] float32 are L2-normalised, a row for each. Images
    that cannot be read are in ``unreadable`` and not in the other two. ``new``, ``changed`` and ``deleted`` count what
    had happened to the files; ``embedded`` images went through the model. ``path`` is where the index is kept, ``None``
    where it could not be kept.
    """

    folder: Path
    names: list[str]
    features: Tensor
    new: int = 0
    changed: int = 0
    deleted: int = 0
    embedded: int = 0
    unreadable: list[str] = field(default_factory=list)
    path: Path | None = None

    def sentence(self) -> str:
        counts = {"new": self.new, "changed": self.changed, "deleted": self.deleted}
        words = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count) or "up to date"
        return f"Index of {_images(len(self.names))}: {words}."


def index_paths(folder: Path, key: str) -> tuple[Path, Path]:
    """Where the index of ``folder`` may lie: inside it, and, where it cannot be written, in the cache folder."""
    name = f"index-{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
    place = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    return folder / OWN_FOLDER / name, cache_folder() / "indexes" / f"{place}-{name}"


def refresh_index(
    folder: Path,
    embedding: Embedding,
    *,
    batch_size: int = 64,
    threads: int = 2,
    rebuild: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[int, int], None] | None = None,
) -> FolderIndex:
    """The index of ``folder`` and all folders below it, after embedding what is new or changed.

    A file has changed where its size or time of modification differ. Renamed files count as deleted and new; the
    folder itself may be moved with its index. An image that cannot be read is left out and looked at again when it
    changes. The index is written whole or not at all; several processes may do so at the same time. An indexing that
    is interrupted keeps what it has. ``say`` gets sentences for the user, ``progress`` (images done, images to embed).

    Raises:
        DataError: there is no such folder, or no image that can be read.
        SettingsError: a batch size or number of threads below 1.
    """
    if batch_size < 1 or threads < 1:
        raise SettingsError(f"Batch size {batch_size}, {threads} threads.", "Both must be at least 1.")
    listing = list_images(folder)
    if listing.closed:
        say(_left_out("folder cannot be read", "folders cannot be read", listing.closed))
    if not listing.files:
        raise DataError(f'"{show(folder)}" holds no images.', "Give a folder of images; folders inside it count.")
    inside, cached = index_paths(folder, embedding.key)
    places = (inside, cached) if _writable(folder) else (cached, inside)
    known = None if rebuild else _read(places, embedding, say)
    update = _Update(listing, known, embedding.width)
    path: Path | None = next((place for place in places if place.exists()), None)
    try:
        _embed(folder, update, embedding, batch_size, threads, progress, lambda: _write(update, places, embedding))
    except BaseException as error:
        if update.embedded and _write(update, places, embedding) and isinstance(error, KeyboardInterrupt):
            say(f"Stopped with {_images(update.embedded)} embedded; they are kept, and the next search goes on there.")
        raise
    if update.differs:
        path = _write(update, places, embedding)
        if path is None:
            say(f'The index can be written neither to "{show(folder)}" nor to the cache folder: it is not kept.')
        elif path == cached:
            say(f'"{show(folder)}" cannot be written, so its index is kept in "{show(cached.parent)}".')
    data = update.data()
    readable = data.readable
    index = FolderIndex(
        folder=folder,
        names=[name for name, good in zip(data.names, readable.tolist(), strict=True) if good],
        features=torch.from_numpy(data.features if readable.all() else data.features[readable]),
        new=update.new,
        changed=update.changed,
        deleted=update.deleted,
        embedded=update.embedded,
        unreadable=[show(name) for name, good in zip(data.names, readable.tolist(), strict=True) if not good],
        path=path,
    )
    if index.unreadable:
        say(_left_out("file cannot be read as an image", "files cannot be read as images", index.unreadable))
    if not index.names:
        raise DataError(
            f'None of the {_images(len(data.names))} in "{show(folder)}" can be read.', "Look at one of the files."
        )
    say(index.sentence())
    return index


class _Update:
    """The listing of a folder, its rows in the earlier index, and what has been embedded since."""

    def __init__(self, listing: Listing, known: IndexData | None, width: int) -> None:
        self.names = list(listing.files)
        self.stamps = np.array(list(listing.files.values()), dtype=np.int64).reshape(-1, 3)
        self.readable = np.zeros(len(self.names), dtype=bool)
        self.done = np.zeros(len(self.names), dtype=bool)
        self.embedded = self.new = self.changed = self.deleted = 0
        self.differs = True
        if known is not None and known.names == self.names and np.array_equal(known.stamps, self.stamps):
            self.features, self.readable = known.features, known.readable
            self.done[:] = True
            self.differs = False
            return
        self.features = np.zeros((len(self.names), width), dtype=np.float32)
        if known is None or not known.names:
            self.new = len(self.names)
            return
        rows = {name: row for row, name in enumerate(known.names)}
        old = np.array([rows.get(name, -1) for name in self.names], dtype=np.int64)
        there = old >= 0
        same = (known.stamps[old] == self.stamps) & there[:, None]
        # Permission to read a file changes its own time alone, so that decides for those that could not be read.
        self.done = same[:, 0] & same[:, 1] & (same[:, 2] | known.readable[old])
        self.features[self.done] = known.features[old[self.done]]
        self.readable[self.done] = known.readable[old[self.done]]
        self.new = int((~there).sum())
        self.changed = int((there & ~self.done).sum())
        self.deleted = len(known.names) - int(there.sum())

    def todo(self) -> list[int]:
        places: list[int] = np.flatnonzero(~self.done).tolist()
        return places

    def data(self) -> IndexData:
        """What is done so far."""
        if self.done.all():
            return IndexData(self.names, self.stamps, self.readable, self.features)
        rows = np.flatnonzero(self.done)
        names = [self.names[row] for row in rows]
        return IndexData(names, self.stamps[rows], self.readable[rows], self.features[rows])


@torch.no_grad()
def _embed(
    folder: Path,
    update: _Update,
    embedding: Embedding,
    batch_size: int,
    threads: int,
    progress: Callable[[int, int], None] | None,
    save: Callable[[], object],
) -> None:
    """Fill in what is not done; ``save`` is called now and then."""
    todo = update.todo()
    if not todo:
        return
    transform = EvalTransform(embedding.preprocess)

    def load(row: int) -> Tensor | None:
        try:
            # Transformed here, so that few images are held in full size.
            return transform(read_image(ImageFile(folder / update.names[row])))
        except DataError:
            return None

    saved, seen = time.monotonic(), 0
    for rows, images in _read_ahead(load, todo, batch_size, threads):
        good = [row for row, image in zip(rows, images, strict=True) if image is not None]
        if good:
            batch = torch.stack([image for image in images if image is not None])
            features = F.normalize(embedding.encode(batch).float(), dim=-1)
            update.features[good] = features.cpu().numpy()
        update.readable[good] = True
        update.done[rows] = True
        update.embedded += len(good)
        seen += len(rows)
        if progress is not None:
            progress(seen, len(todo))
        if time.monotonic() - saved > SAVE_SECONDS:
            save()
            saved = time.monotonic()


def _read_ahead(
    load: Callable[[int], Tensor | None], rows: Sequence[int], batch_size: int, threads: int
) -> Iterator[tuple[list[int], list[Tensor | None]]]:
    """Batches in order; threads read the next ones meanwhile (decoding an image leaves Python's lock)."""
    pool = ThreadPoolExecutor(threads, "reidtune-read")
    waiting: deque[tuple[list[int], list[Future[Tensor | None]]]] = deque()
    try:
        for start in range(0, len(rows), batch_size):
            chunk = list(rows[start : start + batch_size])
            waiting.append((chunk, [pool.submit(load, row) for row in chunk]))
            if len(waiting) > _AHEAD:
                chunk, futures = waiting.popleft()
                yield chunk, [future.result() for future in futures]
        for chunk, futures in waiting:
            yield chunk, [future.result() for future in futures]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(places: Sequence[Path], embedding: Embedding, say: Callable[[str], None]) -> IndexData | None:
    """The newest index that is whole; a folder that can no longer be written may have one in the cache, too."""
    there = [place for place in places if place.is_file()]
    for place in sorted(there, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            return read_index(place, embedding.key, embedding.width)
        except IndexFileError as error:
            say(f'The index "{show(place)}" {error}; the images are embedded anew.')
    return None


def _write(update: _Update, places: Sequence[Path], embedding: Embedding) -> Path | None:
    """Write what is done to the first place that takes it."""
    for place in places:
        try:
            write_index(place, update.data(), embedding.key)
        except OSError:
            continue
        return place
    return None


def _writable(folder: Path) -> bool:
    own = folder / OWN_FOLDER
    return os.access(own if own.is_dir() else folder, os.W_OK | os.X_OK)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _left_out(one: str, several: str, names: Sequence[str]) -> str:
    few = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    if len(names) == 1:
        return f"1 {one} and is left out: {few}."
    return f"{len(names):,} {several} and are left out: {few}."
