"""The query of a search: a text, an image or images of several modalities, or both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.data.image import check_header
from reidtune.data.record import ImageFile
from reidtune.errors import SettingsError
from reidtune.inputs import known_modality

if TYPE_CHECKING:
    from reidtune.model import Model

QueryImages = str | Path | Mapping[str, str | Path]


def check_query(text: str | None, image: QueryImages | None, weight: float = 0.5, top: int = 10) -> None:
    """Raise :class:`SettingsError` or :class:`DataError` for a query that cannot be searched for, which is better known
    before a model is loaded. Images are opened, not decoded."""
    files = files_of(image)
    if text is None and not files:
        raise SettingsError("There is nothing to search for.", "Give a text, an image, or both.")
    if text is not None and not text.strip():
        raise SettingsError("The text to search for is empty.", 'Say who is looked for: "a woman in a red coat".')
    if not 0 <= weight <= 1:
        raise SettingsError(f"The weight of the text is {weight}.", "Choose a value from 0 to 1.")
    if top < 1:
        raise SettingsError(f"The number of matches is {top}.", "Choose at least 1.")
    for file in files.values():
        check_header(ImageFile(file))


def query_images(model: Model, image: QueryImages | None) -> dict[str, Path]:
    """The query's files by modality, in the model's order; of a model without modalities, a file under no name.

    Raises:
        SettingsError: a modality that the model does not know, or one twice.
    """
    given = files_of(image)
    if not model.modalities:
        if named := [name for name in given if name]:
            raise SettingsError(
                f"The query's image is named {named[0]}, but this model has no modalities.",
                "Give the image alone, use a delta trained on multi-modal data, or reidtune.load(..., modalities=...).",
            )
        return given
    found: dict[str, Path] = {}
    for name, file in given.items():
        modality = known_modality(name, model.modalities) if name else model.modalities[0]
        if modality in found:
            raise SettingsError(f"The query has two images of the modality {modality}.", "Give one of each.")
        found[modality] = file
    return {modality: found[modality] for modality in model.modalities if modality in found}


def query_feature(model: Model, text: str | None, images: Mapping[str, Path], weight: float) -> Tensor:
    """The feature of a query, L2-normalised, float32: [D], or [M · D] of a sample, zeros where it has no image.
    ``weight`` is the share of the text where there are images, too; the text then stands beside each of them, else in
    the place of all modalities.

    Raises:
        DataError: the image cannot be read.
        SettingsError: the model's texts and images have features of different widths.
    """
    width = model.tuner.feature_width(model.backbone.image)
    if text is not None and (words := model.tuner.feature_width(model.backbone.text)) != width:
        raise SettingsError(
            f"This model's images have {width} values and its texts {words}: they cannot be compared.",
            "Search by --image alone, or with another delta.",
        )
    parts = []
    if text is not None:
        feature = model.embed_texts([text])[0]
        if model.modalities:
            places = [float(name in images or not images) for name in model.modalities]
            feature = F.normalize(torch.cat([place * feature for place in places]), dim=0)
        parts.append((weight if images else 1.0) * feature)
    if images:
        feature = model.embed_samples([images])[0] if model.modalities else model.embed_images(images.values())[0]
        parts.append((1 - weight if text is not None else 1.0) * feature)
    return F.normalize(torch.stack(parts).sum(dim=0), dim=0)


def files_of(image: QueryImages | None) -> dict[str, Path]:
    """A query's files by the names that were given, one without a name under an empty one."""
    given = image if isinstance(image, Mapping) else {} if image is None else {"": image}
    return {name: Path(file).expanduser() for name, file in given.items()}
