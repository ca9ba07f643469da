"""From an RGB image to the input of the backbone: float32 [3, H, W], normalised. In three parts:

- :func:`squash` gives 8-bit pixels of the model's height and width, the same in every epoch, so they can be kept;
- ``vary`` of a transform flips, shifts and erases them, as a seed decides;
- :func:`reidtune.data.normalise.normalise` scales and normalises a whole batch, on the device it is for.

Random augmentation is a function of the image and the seed, so that neither the order of images nor the worker matters.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from reidtune.backbone.preprocess import Preprocess
from reidtune.data.normalise import normalise
from reidtune.errors import SettingsError

Pixels = NDArray[np.uint8]
Rectangle = tuple[int, int, int, int]  # top, left, height, width; empty: nothing is erased
NOTHING: Rectangle = (0, 0, 0, 0)
_AREA = (0.02, 0.4)  # of the image that random erasing covers
_ASPECT = (0.3, 3.3)  # height to width of what it covers
_TRIES = 10


class Transform(Protocol):
    """What is done to the pixels of an image, as a seed decides."""

    @property
    def preprocess(self) -> Preprocess: ...

    def vary(self, pixels: Pixels, seed: int, out: Pixels) -> Rectangle:
        """Write the augmented ``pixels`` [3, H, W] to ``out``; the rectangle is to be 0 after normalisation."""
        ...


class EvalTransform:
    """Squash to height × width (never crop), scale to 0–1, normalise. The seed is accepted and not used."""

    def __init__(self, preprocess: Preprocess) -> None:
        self.preprocess = preprocess

    def vary(self, pixels: Pixels, seed: int, out: Pixels) -> Rectangle:
        out[:] = pixels
        return NOTHING

    def __call__(self, image: Image.Image, seed: int = 0) -> torch.Tensor:
        """Pillow RGB → float32 [3, H, W]."""
        return _one(self, image, seed)


class TrainTransform:
    """The augmentation of the re-identification literature: squash, flip, pad and crop back, normalise, erase.

    ``flip`` and ``erase`` are probabilities; ``pad`` is pixels of black on every side, from which height × width are
    cropped at random. Random erasing (Zhong et al., AAAI 2020) covers 2–40 % of the area with the mean colour, which
    is 0 after normalisation. Numbers are drawn as torchvision's transforms draw them: the tensors are the same, bit for
    bit. Raises ``SettingsError`` for values out of range.
    """

    def __init__(self, preprocess: Preprocess, flip: float = 0.5, pad: int = 10, erase: float = 0.5) -> None:
        for name, value in (("flip", flip), ("erase", erase)):
            if not 0 <= value <= 1:
                raise SettingsError(f"{name} is {value}, not a probability.", "Choose a value from 0 to 1.")
        if pad < 0:
            raise SettingsError(f"pad is {pad}, a negative number of pixels.", "Choose 0 or more pixels.")
        self.preprocess, self.pad = preprocess, pad
        self.flip, self.erase = (float(np.float32(value)) for value in (flip, erase))  # as draws are compared

    def vary(self, pixels: Pixels, seed: int, out: Pixels) -> Rectangle:
        random = torch.Generator()  # one of its own, so that everybody else's stays as it is
        random.manual_seed(seed)
        _, height, width = pixels.shape
        if _uniform(random) < self.flip:
            pixels = torch.from_numpy(pixels).flip(-1).numpy()  # four times as fast as a negative stride
        if self.pad:
            _shift(
                pixels, _below(2 * self.pad + 1, random) - self.pad, _below(2 * self.pad + 1, random) - self.pad, out
            )
        else:
            out[:] = pixels
        return _rectangle(height, width, random) if _uniform(random) < self.erase else NOTHING

    def __call__(self, image: Image.Image, seed: int = 0) -> torch.Tensor:
        """Pillow RGB → float32 [3, H, W]."""
        return _one(self, image, seed)


def squash(image: Image.Image, preprocess: Preprocess) -> Pixels:
    """An RGB image as uint8 [3, H, W] of the model's height and width, nothing cut off; a new, contiguous array."""
    kind = Image.Resampling[preprocess.interpolation.upper().replace("-EXACT", "")]
    small = image.resize((preprocess.width, preprocess.height), kind)  # Pillow's own is antialiased
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def _one(transform: Transform, image: Image.Image, seed: int) -> torch.Tensor:
    pixels = squash(image, transform.preprocess)
    out = np.empty_like(pixels)
    erased = torch.tensor([transform.vary(pixels, seed, out)])
    return normalise(torch.from_numpy(out)[None], erased, transform.preprocess)[0]


def _shift(pixels: Pixels, down: int, right: int, out: Pixels) -> None:
    """``out`` is the window of ``pixels`` that begins ``down`` rows and ``right`` columns further, black outside."""
    _, height, width = pixels.shape
    rows, columns = max(0, height - abs(down)), max(0, width - abs(right))
    out.fill(0)
    if rows and columns:
        top, left = max(0, down), max(0, right)
        to_top, to_left = max(0, -down), max(0, -right)
        out[:, to_top : to_top + rows, to_left : to_left + columns] = pixels[:, top : top + rows, left : left + columns]


def _rectangle(height: int, width: int, random: torch.Generator) -> Rectangle:
    low, high = torch.tensor(_ASPECT).log().tolist()
    for _ in range(_TRIES):
        area = height * width * _uniform(random, *_AREA)
        aspect = torch.empty(1).uniform_(low, high, generator=random).exp().item()
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rows < height and columns < width:
            return _below(height - rows + 1, random), _below(width - columns + 1, random), rows, columns
    return NOTHING


def _uniform(random: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return torch.empty(1).uniform_(low, high, generator=random).item()


def _below(count: int, random: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=random).item())
