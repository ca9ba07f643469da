"""What users hand to a model: images, samples of several modalities, texts; checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from reidtune.data.image import read_image, to_rgb
from reidtune.data.modality import modality_name
from reidtune.data.record import ImageFile
from reidtune.errors import SettingsError, did_you_mean

ImageLike = str | Path | Image.Image | Tensor
Readable = Path | Image.Image
Key = TypeVar("Key", str, int)
_IMAGES_HINT = "Give paths, PIL images, or uint8 tensors [3, height, width]."
_SAMPLES_HINT = 'Give a mapping a sample, such as {"rgb": "a.jpg", "nir": "b.jpg"}.'


def as_images(images: Iterable[ImageLike]) -> list[Readable]:
    """Paths and Pillow images of what may be a single one. Raises ``SettingsError`` for what is no image."""
    if isinstance(images, str | Path | Image.Image) or (isinstance(images, Tensor) and images.ndim == 3):
        images = [images]
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise SettingsError(f"{_describe(images)} is not an image.", _IMAGES_HINT)
    return [_as_image(image) for image in images]


def as_samples(samples: Iterable[Mapping[str, ImageLike]], modalities: Sequence[str]) -> list[dict[str, Readable]]:
    """The images of each sample by modality, of which a sample has at least one of ``modalities``.

    Raises:
        SettingsError: something that is no sample or no image, a modality that is unknown or given twice.
    """
    if isinstance(samples, Mapping):
        samples = [samples]
    if isinstance(samples, str | Path | Image.Image | Tensor) or not isinstance(samples, Iterable):
        raise SettingsError(f"{_describe(samples)} is not a list of samples.", _SAMPLES_HINT)
    return [_as_sample(sample, modalities) for sample in samples]


def as_texts(texts: Iterable[str]) -> list[str]:
    """The texts of what may be a single one. Raises ``SettingsError`` for what is no text."""
    if isinstance(texts, str):
        return [texts]
    found = list(texts) if isinstance(texts, Iterable) else [texts]
    for text in found:
        if not isinstance(text, str):
            raise SettingsError(f"{_describe(text)} is not a text.", "Give strings.")
    return found


def as_modalities(names: str | Iterable[str]) -> tuple[str, ...]:
    """The names of modalities, in the order given, as datasets call them; ``"rgb,nir,tir"`` is three.

    Raises:
        SettingsError: none, an empty name, or one twice.
    """
    given = names.split(",") if isinstance(names, str) else as_texts(names)
    found = tuple(modality_name(name) for name in given)
    if not all(found) or len(set(found)) < len(found) or not found:
        raise SettingsError(
            f"The modalities are {', '.join(given) or 'none'}.", "Name each once, such as rgb, nir and tir."
        )
    return found


def known_modality(name: object, modalities: Sequence[str]) -> str:
    """The one of ``modalities`` that ``name`` means. Raises ``SettingsError`` with the nearest where there is none."""
    if not isinstance(name, str):
        raise SettingsError(f"{_describe(name)} is not the name of a modality.", _SAMPLES_HINT)
    found = modality_name(name)
    if found not in modalities:
        raise SettingsError(
            f'The model knows no modality "{name}".{did_you_mean(found, modalities)}',
            f"Its modalities are {', '.join(modalities)}.",
        )
    return found


def open_image(image: Readable) -> Image.Image:
    """An image as RGB. Raises ``DataError`` for a file that cannot be read."""
    return read_image(ImageFile(image)) if isinstance(image, Path) else to_rgb(image)


def as_cameras(cameras: Sequence[int] | None, count: int, size: int) -> list[Tensor | None]:
    """The cameras of ``count`` images, ``size`` at a time, int64; ``None`` for each part where they are not known.

    Raises:
        SettingsError: something that is no whole number, or not one for each image.
    """
    if cameras is None:
        return [None] * len(range(0, count, max(1, size)))
    given = cameras.tolist() if isinstance(cameras, Tensor) else list(cameras)
    if wrong := [camera for camera in given if isinstance(camera, bool) or not hasattr(camera, "__index__")]:
        raise SettingsError(f"{wrong[0]!r} is not the number of a camera.", "Give a whole number for each image.")
    if len(given) != count:
        raise SettingsError(f"There are {len(given)} cameras for {count} images.", "Give one for each.")
    return [torch.tensor(part, dtype=torch.int64) for part in chunks(given, size)]


def chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """``items``, ``size`` at a time. Raises ``SettingsError`` for a size below 1."""
    if size < 1:
        raise SettingsError(f"The batch size is {size}.", "Choose a batch size of at least 1.")
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def stack_samples(samples: Sequence[Mapping[Key, Tensor]], modalities: Sequence[Key]) -> tuple[Tensor, Tensor]:
    """Images [B, M, 3, H, W] of samples that have at least one of ``modalities`` (names, or places), zeros where one is
    missing, and boolean [B, M]: which are there."""
    blank = torch.zeros_like(next(iter(samples[0].values())))
    images = torch.stack([torch.stack([sample.get(name, blank) for name in modalities]) for sample in samples])
    return images, torch.tensor([[name in sample for name in modalities] for sample in samples])


def _as_sample(sample: Mapping[str, ImageLike], modalities: Sequence[str]) -> dict[str, Readable]:
    if not isinstance(sample, Mapping):
        raise SettingsError(f"{_describe(sample)} is not a sample.", _SAMPLES_HINT)
    found: dict[str, Readable] = {}
    for name, image in sample.items():
        modality = known_modality(name, modalities)
        if modality in found:
            raise SettingsError(f"A sample has two images of the modality {modality}.", _SAMPLES_HINT)
        found[modality] = _as_image(image)
    if not found:
        raise SettingsError("A sample has no image.", "Give at least one of its modalities; the others may be missing.")
    return found


def _as_image(image: object) -> Readable:
    found: Readable
    if isinstance(image, str | Path):
        found = Path(image)
    elif isinstance(image, Image.Image):
        found = image
    elif isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and len(image) == 3:
        found = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    else:
        raise SettingsError(f"{_describe(image)} is not an image.", _IMAGES_HINT)
    if isinstance(found, Image.Image) and 0 in found.size:
        raise SettingsError(f"{_describe(image)} has no pixels.", _IMAGES_HINT)
    return found


def _describe(image: object) -> str:
    if isinstance(image, Tensor):
        return f"A tensor of shape {tuple(image.shape)} and type {image.dtype}"
    name = type(image).__name__
    return f"{'An' if name[0] in 'aeiouAEIOU' else 'A'} {name}"
