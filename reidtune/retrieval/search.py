"""Searching a folder of images, or of samples of several modalities, by a sentence, by images, or by both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reidtune.cameras import KNOWN, unknown_cameras
from reidtune.data.batch import Batch
from reidtune.data.open import DEMOS
from reidtune.data.scan import show
from reidtune.errors import DataError, SettingsError, did_you_mean
from reidtune.inputs import known_modality
from reidtune.retrieval.index import Embedding, FolderIndex, refresh_index
from reidtune.retrieval.query import QueryImages, check_query, files_of, query_feature, query_images
from reidtune.retrieval.shared import SharedGallery, anything_missing

if TYPE_CHECKING:
    from reidtune.model import Model

_ROWS = 65_536  # scored at once


@dataclass(frozen=True)
class Match:
    """An image or sample that was found: ``rank`` from 1, ``name`` relative to the folder, ``score``: its cosine with
    the query. ``paths`` are a sample's files by modality, ``path`` the first of them."""

    rank: int
    name: str
    path: Path
    score: float
    paths: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchResult:
    """``matches``, best first, of a query; ``weight`` is the share of the text in it (1 without an image, 0 without a
    text). ``model`` holds ``backbone`` and ``delta`` as ``evaluate --json`` does. Of samples, ``modalities`` are the
    model's, ``images`` the query's files by modality and ``image`` the first of them."""

    text: str | None
    image: Path | None
    weight: float
    matches: list[Match]
    index: FolderIndex
    model: dict[str, Any]
    modalities: tuple[str, ...] = ()
    images: dict[str, Path] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object that ``search --json`` prints."""
        index, several = self.index, bool(self.modalities)
        results = [{"rank": match.rank, "path": str(match.path), "score": match.score} for match in self.matches]
        if several:
            results = [row | {"paths": _texts(match.paths)} for row, match in zip(results, self.matches, strict=True)]
        return {
            "schema": 1,
            "query": {
                "text": self.text,
                "image": None if self.image is None else str(self.image),
                **({"images": _texts(self.images)} if several else {}),
                "weight": self.weight,
            },
            **({"modalities": list(self.modalities)} if several else {}),
            "folder": str(index.folder),
            "results": results,
            "index": {
                **({"samples": len(index.names)} if several else {}),
                "images": sum(file is not None for row in index.files for file in row) if several else len(index.names),
                "new": index.new,
                "changed": index.changed,
                "deleted": index.deleted,
                "embedded": index.embedded,
                "unreadable": len(index.unreadable),
                "path": None if index.path is None else str(index.path),
            },
            **self.model,
        }


def search(
    model: Model,
    folder: str | Path,
    *,
    text: str | None = None,
    image: QueryImages | None = None,
    weight: float = 0.5,
    top: int = 10,
    modality: str | None = None,
    batch_size: int = 64,
    threads: int | None = None,
    rebuild: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """The images in ``folder``, and in folders below it, that are nearest to a text, an image, or both.

    The features of the folder's images are kept in ``.reidtune`` inside it (see
    :func:`reidtune.retrieval.index.refresh_index`) and computed only for new and changed files. The query is the text's
    or the image's feature, or of both normalise(weight · text + (1 − weight) · image); scores are cosines with it, and
    equal scores stand in the order of their names. A query image that lies in the folder is not among its own matches.

    With a model of several modalities, samples are found instead of images: files of the same name in folders that are
    called after modalities (``RGB/7.jpg``, ``NI/7.jpg``). A modality that the query lacks does not count; for one that
    a sample lacks see :class:`reidtune.retrieval.shared.SharedGallery`. A text stands in the place of each modality of
    the query's images, of all where there are none.

    Args:
        model: what :func:`reidtune.load` gives.
        folder: any folder; no labels are needed.
        image: a file; of several modalities a mapping, ``{"rgb": "a.jpg", "nir": "b.jpg"}``, or a file of the first.
        modality: what every image of the folder is of, where there are no folders of modalities; default: the one that
            ``folder`` is called after, else the first.
        weight: the share of the text, 0–1, where there is an image as well.
        top: how many matches, at most.
        threads: threads that read images; default: one a processor, at most 4.
        rebuild: embed everything anew.
        say: gets sentences for the user. progress: told (images or samples done, those to embed).

    Raises:
        SettingsError: neither text nor image, a value out of range, a modality that the model does not know, or a delta
            with embeddings of cameras, which are not known here (see :meth:`reidtune.Model.use_cameras`).
        DataError: there is no such folder, it holds no image that can be read, or the query image cannot be read.
    """
    check_query(text, image, weight, top)
    if model.cameras is not None and model.camera_use == KNOWN:
        raise unknown_cameras(model.cameras)
    folder = Path(folder).expanduser()
    images = query_images(model, image)
    if model.modalities and "" in files_of(image):
        say(f"The query's image counts as {model.modalities[0]}; --image NAME=FILE says another.")
    share = weight if text is not None and images else float(text is not None)
    embedding = embedding_of(model, modality)
    query = query_feature(model, text, images, share)
    if text is not None and model.header is not None and model.header.task in ("image", "multimodal"):
        say("The delta was trained on images without texts; a text may find more with one trained on captions.")
    index = refresh_index(
        folder,
        embedding,
        batch_size=batch_size,
        threads=threads or min(4, os.cpu_count() or 1),
        rebuild=rebuild,
        say=say,
        progress=progress,
    )
    files = list(images.values())
    named = images if model.modalities else {}
    first = files[0] if files else None
    matches = best(index, query, top, files)
    return SearchResult(text, first, share, matches, index, model.describe(), model.modalities, named)


def find_folder(source: str | Path) -> Path:
    """The folder that ``source`` names; the text ``demo`` means the demo world's images with captions.

    Raises:
        DataError: there is no such folder.
        SettingsError: no such demo world.
    """
    if isinstance(source, str) and (source == "demo" or source.startswith("demo:")):
        if source not in DEMOS:
            raise SettingsError(f'There is no demo world "{source}".{did_you_mean(source, DEMOS)}', "Use demo.")
        from reidtune.demo import demo_folder

        return demo_folder("text" if source == "demo" else DEMOS[source])
    folder = Path(source).expanduser()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f'"{show(folder)}" {what}.', "Give a folder of images, or the word demo.")
    return folder


def embedding_of(model: Model, modality: str | None = None) -> Embedding:
    """How ``model`` embeds images or samples (all images being of ``modality``, where one is given), under a key that
    changes with anything that changes its features.

    Raises:
        SettingsError: a modality that the model does not know.
    """
    if model.header is not None:
        key = f"delta {model.header.digest}"
    else:
        key = f"backbone {model.backbone.fingerprint['digest']}"
        if tensors := model.tuner.tensors():  # a tuner that was never saved
            from reidtune.backbone.fingerprint import tensor_hashes

            key += f" tuner {hashlib.sha256(repr(tensor_hashes(tensors)).encode()).hexdigest()}"
    preprocess, width = model.backbone.preprocess, model.tuner.feature_width(model.backbone.image)
    if model.cameras is not None:
        key += f" cameras {model.camera_use}"
    if not model.modalities:
        if modality is not None:
            raise SettingsError(
                f"This model has no modalities, so none is {modality}.", "Use a delta trained on multi-modal data."
            )
        return Embedding(model.encode_images, preprocess, width, key)
    if modality is not None:
        modality = known_modality(modality, model.modalities)
    key += f" samples of {','.join(model.modalities)}{f', all {modality}' if modality else ''}"

    def encode(images: Tensor, present: Tensor) -> Tensor:
        return model.encode(Batch(images, present=present))

    return Embedding(encode, preprocess, width * len(model.modalities), key, model.modalities, modality)


def best(index: FolderIndex, query: Tensor, top: int, without: Sequence[Path] = ()) -> list[Match]:
    """The ``top`` images or samples of ``index`` by cosine with ``query`` [D], leaving out those that have one of the
    files ``without``. Where a modality is missing, scores are those of
    :class:`reidtune.retrieval.shared.SharedGallery`.

    Sums are taken in double precision: equal features then have equal scores wherever they stand.
    """
    pieces = max(1, len(index.modalities))
    if anything_missing(query[None], pieces) or anything_missing(index.features, pieces):
        scores = SharedGallery(index.features, pieces).scores(query[None])[0]
    else:
        step = max(1, _ROWS // pieces)
        chunks = [index.features[start : start + step] for start in range(0, len(index.features), step)]
        scores = torch.cat([chunk.double() @ query.double() for chunk in chunks]).float()
    own = {_identity(path) for path in without} - {None}
    matches: list[Match] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        if len(matches) == top:
            break
        paths = index.paths(row)
        if own and any(_identity(path) in own for path in paths.values()):
            continue
        first, named = next(iter(paths.values())), paths if index.modalities else {}
        matches.append(Match(len(matches) + 1, show(index.names[row]), first, float(scores[row]), named))
    return matches


def _texts(paths: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in paths.items()}


def _identity(path: Path) -> tuple[int, int] | None:
    """What links to one file share."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
