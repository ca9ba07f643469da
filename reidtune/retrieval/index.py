"""The index of a folder: the features of its images, kept in a file and brought up to date when they are needed."""

from __future__ import annotations

import contextlib
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
from reidtune.data.image import image_size, read_image
from reidtune.data.layouts.strips import STRIPS
from reidtune.data.record import ImageFile
from reidtune.data.scan import OWN_FOLDER, show
from reidtune.data.transforms import EvalTransform
from reidtune.errors import DataError, SettingsError
from reidtune.inputs import stack_samples
from reidtune.paths import cache_folder
from reidtune.retrieval.entries import list_entries
from reidtune.retrieval.files import list_images
from reidtune.retrieval.index_file import IndexData, IndexFileError, read_index, write_index
from reidtune.retrieval.index_update import Update

SAVE_SECONDS = 30.0  # how often a long indexing is written, for the case that the process is killed
_AHEAD = 2  # batches that are read while the model works


@dataclass(frozen=True)
class Embedding:
    """What turns images into features, and what tells these features from all others.

    ``encode`` maps preprocessed images [B, 3, H, W] to features [B, ``width``]; with M ``modalities``, images
    [B, M, 3, H, W] (zeros where one is missing) and boolean [B, M] (which are there). ``key`` is the delta's digest, or
    the backbone's fingerprint where there is none: both cover the weights and the preprocessing. ``modality``: every
    image of the folder is of this one.
    """

    encode: Callable[..., Tensor]
    preprocess: Preprocess
    width: int
    key: str
    modalities: tuple[str, ...] = ()
    modality: str | None = None


@dataclass
class FolderIndex:
    """An index that is up to date.

    ``names`` are relative to ``folder``, sorted; ``features`` [N, D] float32 are L2-normalised, a row for each. Images
    that cannot be read are in ``unreadable`` and not in the other two. ``new``, ``changed`` and ``deleted`` count what
    had happened to the files; ``embedded`` images went through the model. ``path`` is where the index is kept, ``None``
    where it could not be kept.

    With ``modalities`` rows are samples and all counts but that of ``unreadable`` files are of samples; ``files`` has
    the names of each sample's files in this order, ``None`` where one is missing or cannot be read.
    """

    folder: Path
    names: list[str]
    features: Tensor
    modalities: tuple[str, ...] = ()
    files: list[tuple[str | None, ...]] = field(default_factory=list)
    new: int = 0
    changed: int = 0
    deleted: int = 0
    embedded: int = 0
    unreadable: list[str] = field(default_factory=list)
    path: Path | None = None

    def sentence(self) -> str:
        counts = {"new": self.new, "changed": self.changed, "deleted": self.deleted}
        words = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count) or "up to date"
        return f"Index of {count_of(len(self.names), self.modalities)}: {words}."

    def paths(self, row: int) -> dict[str, Path]:
        """The files of a sample by modality; of an image, it alone under the empty name."""
        if not self.modalities:
            return {"": self.folder / self.names[row]}
        pairs = zip(self.modalities, self.files[row], strict=True)
        return {modality: self.folder / file for modality, file in pairs if file is not None}


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
    changes. With modalities an entry is a sample (see :func:`reidtune.retrieval.entries.list_entries`), embedded again
    when one of its files is new, changed or deleted. The index is written whole or not at all; several processes may do
    so at the same time. An indexing that is interrupted keeps what it has. ``say`` gets sentences for the user,
    ``progress`` (images or samples done, those to embed).

    Raises:
        DataError: there is no such folder, no image that can be read, or no image of the model's modalities.
        SettingsError: a batch size or number of threads below 1.
    """
    if batch_size < 1 or threads < 1:
        raise SettingsError(f"Batch size {batch_size}, {threads} threads.", "Both must be at least 1.")
    listing = list_images(folder)
    if listing.closed:
        say(_left_out("folder cannot be read", "folders cannot be read", listing.closed))
    if not listing.files:
        raise DataError(f'"{show(folder)}" holds no images.', "Give a folder of images; folders inside it count.")
    entries = list_entries(listing, embedding.modalities, embedding.modality, folder.resolve().name)
    if embedding.modalities and not any(len([name for name in files if name]) > 1 for files in entries.files):
        _refuse_strips(folder / next(iter(listing.files)))
    for sentence in entries.notes:
        say(sentence)
    inside, cached = index_paths(folder, embedding.key)
    places = (inside, cached) if _writable(folder) else (cached, inside)
    known = None if rebuild else _read(places, embedding, say)
    update = Update(entries, known, embedding.width)
    path: Path | None = next((place for place in places if place.exists()), None)
    try:
        _embed(folder, update, embedding, batch_size, threads, progress, lambda: _write(update, places, embedding))
    except BaseException as error:
        if update.embedded and _write(update, places, embedding) and isinstance(error, KeyboardInterrupt):
            kept = count_of(update.embedded, embedding.modalities)
            say(f"Stopped with {kept} embedded; they are kept, and the next search goes on there.")
        raise
    if update.differs:
        path = _write(update, places, embedding)
        if path is None:
            say(f'The index can be written neither to "{show(folder)}" nor to the cache folder: it is not kept.')
        elif path == cached:
            say(f'"{show(folder)}" cannot be written, so its index is kept in "{show(cached.parent)}".')
    good = update.readable.any(axis=1)
    rows = np.flatnonzero(good).tolist()
    index = FolderIndex(
        folder=folder,
        names=[update.names[row] for row in rows],
        features=torch.from_numpy(update.features if good.all() else update.features[good]),
        modalities=embedding.modalities,
        files=_readable_files(update, rows) if embedding.modalities else [],
        new=update.new,
        changed=update.changed,
        deleted=update.deleted,
        embedded=update.embedded,
        unreadable=[show(name) for name in update.unreadable()],
        path=path,
    )
    if index.unreadable:
        say(_left_out("file cannot be read as an image", "files cannot be read as images", index.unreadable))
    if not index.names:
        raise DataError(
            f'None of the {count_of(len(index.unreadable))} in "{show(folder)}" can be read.',
            "Look at one of the files.",
        )
    say(index.sentence())
    return index


@torch.no_grad()
def _embed(
    folder: Path,
    update: Update,
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

    def load(row: int) -> dict[int, Tensor]:
        """The images of an entry, by the places of their modalities."""
        found = {}
        for place, name in enumerate(update.files[row]):
            if name is not None:
                with contextlib.suppress(DataError):
                    # Transformed here, so that few images are held in full size.
                    found[place] = transform(read_image(ImageFile(folder / name)))
        return found

    saved, seen = time.monotonic(), 0
    for rows, images in _read_ahead(load, todo, batch_size, threads):
        good = [row for row, there in zip(rows, images, strict=True) if there]
        if good:
            batch, present = stack_samples([there for there in images if there], range(len(update.files[0])))
            encoded = embedding.encode(batch, present) if embedding.modalities else embedding.encode(batch[:, 0])
            update.features[good] = F.normalize(encoded.float(), dim=-1).cpu().numpy()
            update.readable[good] = present.numpy()
        update.done[rows] = True
        update.embedded += len(good)
        seen += len(rows)
        if progress is not None:
            progress(seen, len(todo))
        if time.monotonic() - saved > SAVE_SECONDS:
            save()
            saved = time.monotonic()


def _read_ahead(
    load: Callable[[int], dict[int, Tensor]], rows: Sequence[int], batch_size: int, threads: int
) -> Iterator[tuple[list[int], list[dict[int, Tensor]]]]:
    """Batches in order; threads read the next ones meanwhile (decoding an image leaves Python's lock)."""
    pool = ThreadPoolExecutor(threads, "reidtune-read")
    waiting: deque[tuple[list[int], list[Future[dict[int, Tensor]]]]] = deque()
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
            return read_index(place, embedding.key, embedding.width, max(1, len(embedding.modalities)))
        except IndexFileError as error:
            say(f'The index "{show(place)}" {error}; the images are embedded anew.')
    return None


def _write(update: Update, places: Sequence[Path], embedding: Embedding) -> Path | None:
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


def count_of(count: int, modalities: Sequence[str] = ()) -> str:
    """``1,200 images``, or samples where there are modalities."""
    noun = "sample" if modalities else "image"
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def _readable_files(update: Update, rows: Sequence[int]) -> list[tuple[str | None, ...]]:
    known = update.readable.tolist()
    return [
        tuple(name if good else None for name, good in zip(update.files[row], known[row], strict=True)) for row in rows
    ]


def _left_out(one: str, several: str, names: Sequence[str]) -> str:
    few = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    if len(names) == 1:
        return f"1 {one} and is left out: {few}."
    return f"{len(names):,} {several} and are left out: {few}."


def _refuse_strips(first: Path) -> None:
    """Raise ``DataError`` where the first image looks like several modalities side by side."""
    try:
        size = image_size(first)
    except DataError:
        return  # broken images are left out and counted later
    if size in STRIPS:
        raise DataError(
            f'"{show(first)}" is a strip of {size[0]} × {size[1]} pixels, as {STRIPS[size][0]} has its modalities side '
            "by side, and search does not cut strips.",
            "Cut them into folders RGB, NI and TI with the same file names; evaluate reads strips as they are.",
        )
