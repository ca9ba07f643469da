"""Searching a folder of images by a sentence, by an image, or by both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.data.image import check_header
from reidtune.data.open import DEMOS
from reidtune.data.record import ImageFile
from reidtune.data.scan import show
from reidtune.errors import DataError, SettingsError, did_you_mean
from reidtune.retrieval.index import Embedding, FolderIndex, refresh_index

if TYPE_CHECKING:
    from reidtune.model import Model

_ROWS = 65_536  # scored at once


@dataclass(frozen=True)
class Match:
    """An image that was found: ``rank`` from 1, ``name`` relative to the folder, ``score``: its cosine with the
    query."""

    rank: int
    name: str
    path: Path
    score: float


@dataclass(frozen=True)
class SearchResult:
    """``matches``, best first, of a query; ``weight`` is the share of the text in it (1 without an image, 0 without a
    text). ``model`` holds ``backbone`` and ``delta`` as ``evaluate --json`` does."""

    text: str | None
    image: Path | None
    weight: float
    matches: list[Match]
    index: FolderIndex
    model: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The object that ``search --json`` prints."""
        index = self.index
        return {
            "schema": 1,
            "query": {
                "text": self.text,
                "image": None if self.image is None else str(self.image),
                "weight": self.weight,
            },
            "folder": str(index.folder),
            "results": [{"rank": m.rank, "path": str(m.path), "score": m.score} for m in self.matches],
            "index": {
                "images": len(index.names),
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
    image: str | Path | None = None,
    weight: float = 0.5,
    top: int = 10,
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

    Args:
        model: what :func:`reidtune.load` gives.
        folder: any folder; no labels are needed.
        weight: the share of the text, 0–1, where there is an image as well.
        top: how many matches, at most.
        threads: threads that read images; default: one a processor, at most 4.
        rebuild: embed everything anew.
        say: gets sentences for the user. progress: told (images done, images to embed).

    Raises:
        SettingsError: neither text nor image, or a value out of range.
        DataError: there is no such folder, it holds no image that can be read, or the query image cannot be read.
    """
    check_query(text, image, weight, top)
    folder = Path(folder).expanduser()
    picture = None if image is None else Path(image).expanduser()
    share = weight if text is not None and picture is not None else float(text is not None)
    query = query_feature(model, text, picture, share)
    if text is not None and model.header is not None and model.header.task == "image":
        say("The delta was trained on images without texts; a text may find more with one trained on captions.")
    index = refresh_index(
        folder,
        embedding_of(model),
        batch_size=batch_size,
        threads=threads or min(4, os.cpu_count() or 1),
        rebuild=rebuild,
        say=say,
        progress=progress,
    )
    return SearchResult(text, picture, share, best(index, query, top, picture), index, _describe(model))


def check_query(text: str | None, image: str | Path | None, weight: float = 0.5, top: int = 10) -> None:
    """Raise :class:`SettingsError` or :class:`DataError` for a query that cannot be searched for, which is better known
    before a model is loaded. The image is opened, not decoded."""
    if text is None and image is None:
        raise SettingsError("There is nothing to search for.", "Give a text, an image, or both.")
    if text is not None and not text.strip():
        raise SettingsError("The text to search for is empty.", 'Say who is looked for: "a woman in a red coat".')
    if not 0 <= weight <= 1:
        raise SettingsError(f"The weight of the text is {weight}.", "Choose a value from 0 to 1.")
    if top < 1:
        raise SettingsError(f"The number of matches is {top}.", "Choose at least 1.")
    if image is not None:
        check_header(ImageFile(Path(image).expanduser()))


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


def query_feature(model: Model, text: str | None, image: Path | None, weight: float) -> Tensor:
    """The feature [D] of a query, L2-normalised, float32; ``weight`` is the share of the text where both are given.

    Raises:
        DataError: the image cannot be read.
        SettingsError: the model's texts and images have features of different widths.
    """
    images = model.tuner.feature_width(model.backbone.image)
    texts = model.tuner.feature_width(model.backbone.text)
    if text is not None and texts != images:
        raise SettingsError(
            f"This model's images have {images} values and its texts {texts}: they cannot be compared.",
            "Search by --image alone, or with another delta.",
        )
    parts = []
    if text is not None:
        parts.append((weight if image is not None else 1.0) * model.embed_texts([text])[0])
    if image is not None:
        parts.append((1 - weight if text is not None else 1.0) * model.embed_images([image])[0])
    return F.normalize(torch.stack(parts).sum(dim=0), dim=0)


def embedding_of(model: Model) -> Embedding:
    """How ``model`` embeds images, under a key that changes with anything that changes its features."""
    width = model.tuner.feature_width(model.backbone.image)
    if model.header is not None:
        key = f"delta {model.header.digest}"
    else:
        key = f"backbone {model.backbone.fingerprint['digest']}"
        if tensors := model.tuner.tensors():  # a tuner that was never saved
            from reidtune.backbone.fingerprint import tensor_hashes

            key += f" tuner {hashlib.sha256(repr(tensor_hashes(tensors)).encode()).hexdigest()}"
    return Embedding(model.encode_images, model.backbone.preprocess, width, key)


def best(index: FolderIndex, query: Tensor, top: int, without: Path | None = None) -> list[Match]:
    """The ``top`` images of ``index`` by cosine with ``query`` [D], leaving out the file ``without``.

    Sums are taken in double precision: equal features then have equal scores wherever they stand.
    """
    chunks = [index.features[start : start + _ROWS] for start in range(0, len(index.features), _ROWS)]
    scores = torch.cat([chunk.double() @ query.double() for chunk in chunks]).float()
    own = None if without is None else _identity(without)
    matches: list[Match] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        if len(matches) == top:
            break
        path = index.folder / index.names[row]
        if own is None or _identity(path) != own:
            matches.append(Match(len(matches) + 1, show(index.names[row]), path, float(scores[row])))
    return matches


def _describe(model: Model) -> dict[str, Any]:
    own, header = model.backbone.describe(), model.header
    return {
        "backbone": {
            "name": own["name"],
            "pretrained": own["pretrained"],
            "fingerprint": own["fingerprint"]["digest"],
        },
        "delta": None
        if header is None
        else {"path": str(model.path), "method": header.method, "digest": header.digest},
    }


def _identity(path: Path) -> tuple[int, int] | None:
    """What links to one file share."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
