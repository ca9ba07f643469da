"""Features that were computed before: kept in the cache folder, by model and by what the files are."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from reidtune.data.record import Record
from reidtune.files import forget_oldest, write_whole
from reidtune.paths import cache_folder

FORMAT = "1"
MOST_BYTES = 4 * 10**9  # of all files together; the ones unused for longest go first
PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "pillow", "transformers", "tokenizers", "sentencepiece")
_KEY_BYTES = 16
_KINDS = ("images", "texts")

T = TypeVar("T")
Batches = Iterator[tuple[list[int], Tensor]]


class FeatureCache:
    """Features of one model on one dataset.

    ``model`` is whatever tells the model's features from all others; ``place`` tells the dataset, so that files stay
    small. A feature is found again by the identity of its files (path, size, times of modification and of change) and
    the labels that a model may read, or by the words of a caption. Whatever is wrong with the file, features are
    computed anew; nothing in it is ever executed. ``found`` counts what was there, ``computed`` what was not.
    """

    def __init__(self, model: str, place: str) -> None:
        name = f"{_hash(model.encode()).hex()}-{_hash(os.fsencode(place)).hex()[:16]}.safetensors"
        self.path = cache_folder() / "features" / name
        self.found = self.computed = 0
        self._rows: dict[str, dict[bytes, int]] = {kind: {} for kind in _KINDS}
        self._tables: dict[str, list[Tensor]] = {kind: [] for kind in _KINDS}
        self._read()

    def records(
        self,
        records: Sequence[Record],
        modalities: Sequence[str],
        embed: Callable[[list[Record]], Batches],
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Features [N, D] of records; ``embed`` gives those that are missing, a batch at a time, as
        :func:`reidtune.retrieval.embed.embed_batches` does. ``progress`` is told how many were done."""
        keys = [record_key(record, modalities) for record in records]
        return self._collect("images", records, keys, embed, progress)

    def texts(
        self,
        captions: Sequence[str],
        embed: Callable[[list[str]], Batches],
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """The same of captions, no two alike."""
        keys = [_hash(caption.encode("utf-8", "surrogateescape")) for caption in captions]
        return self._collect("texts", captions, keys, embed, progress)

    def _collect(
        self,
        kind: str,
        items: Sequence[T],
        keys: Sequence[bytes],
        embed: Callable[[list[T]], Batches],
        progress: Callable[[int], None] | None,
    ) -> Tensor:
        rows, parts = self._rows[kind], self._tables[kind]
        new: dict[bytes, int] = {}  # each once, though a list may have an image twice
        for place, key in enumerate(keys):
            if key not in rows:
                new.setdefault(key, place)
        missing, before = list(new.values()), self.computed
        self.found += len(items) - len(missing)
        if progress is not None and len(missing) < len(items):
            progress(len(items) - len(missing))
        try:
            for places, features in embed([items[place] for place in missing]) if missing else ():
                start = sum(map(len, parts))
                parts.append(features)
                rows.update({keys[missing[place]]: start + row for row, place in enumerate(places)})
                self.computed += len(features)
                if progress is not None:
                    progress(len(features))
        finally:  # also what an interrupted evaluation has
            if self.computed > before:
                self._write()
        parts[:] = [torch.cat(parts)]
        return parts[0][[rows[key] for key in keys]]

    def _read(self) -> None:
        from safetensors import safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                if (file.metadata() or {}).get("reidtune-features") != FORMAT:
                    return
                names = set(file.keys())
                tensors = {name: file.get_tensor(name) for name in names}
            for kind in _KINDS:
                if f"{kind}.keys" not in names:
                    continue
                keys, features = tensors[f"{kind}.keys"], tensors[f"{kind}.features"]
                right = keys.dtype == torch.uint8 and features.dtype == torch.float32 and features.ndim == 2
                if not right or keys.shape != (len(features), _KEY_BYTES) or not features.isfinite().all():
                    continue
                self._rows[kind] = {key.tobytes(): row for row, key in enumerate(keys.numpy())}
                self._tables[kind] = [features]
            os.utime(self.path)  # used now
        except Exception:  # the library raises its own error, the system others
            self._rows = {kind: {} for kind in _KINDS}
            self._tables = {kind: [] for kind in _KINDS}

    def _write(self) -> None:
        """Keep everything, whole or not at all; a folder that cannot be written is no reason to lose a result."""
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        for kind in _KINDS:
            if self._tables[kind]:
                table = torch.cat(self._tables[kind])
                order = sorted(self._rows[kind].items(), key=lambda item: item[1])
                keys = np.frombuffer(b"".join(key for key, _ in order), np.uint8).reshape(-1, _KEY_BYTES)
                tensors |= {f"{kind}.keys": torch.from_numpy(keys.copy()), f"{kind}.features": table}
                self._tables[kind] = [table]
        folder = self.path.parent
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, save(tensors, {"reidtune-features": FORMAT}), private=True)
        with contextlib.suppress(OSError):
            forget_oldest(folder.glob("*.safetensors"), lambda total: total <= MOST_BYTES, keep=self.path)


def record_key(record: Record, modalities: Sequence[str] = ()) -> bytes:
    """What tells the feature of a record from others of the same model: its files, which modality each of them is, and
    camera and scene. A missing file is told by its name alone; whoever reads it says that it is missing."""
    parts: list[object] = [record.camera, record.scene]
    for image, modality in zip(record.images, record.modalities, strict=True):
        path = os.path.abspath(image.path)  # noqa: PTH100 (resolve would follow links, of which stat tells the target)
        parts += [path, image.crop, modality if modalities else None]
        with contextlib.suppress(OSError):
            status = image.path.stat()
            parts += [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return _hash("\0".join(map(str, parts)).encode("utf-8", "surrogateescape"))


def code_stamp(*others: Path) -> str:
    """A hash of this package's own files and of ``others`` (names, sizes, times), and of the versions of the packages
    that features come from: changed code computes anew. A folder among ``others`` stands for the files in it."""
    own = Path(__file__).resolve().parents[1]
    digest = hashlib.blake2b(repr([*map(_version, PACKAGES)]).encode(), digest_size=_KEY_BYTES)
    inside = [path for other in others for path in (other.rglob("*") if other.is_dir() else [other])]
    for path in sorted({*own.rglob("*.py"), *filter(Path.is_file, inside)}):
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_KEY_BYTES).digest()
