"""From an RGB image to the input of the backbone: float32 [3, H, W], normalised.

Random augmentation is a function of the image and a seed: it reads torch's generator of random numbers, which is set
for the one image and restored, so that neither the order of images nor the worker matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

import torch
from PIL import Image

from reidtune.backbone.preprocess import Preprocess
from reidtune.errors import SettingsError
from reidtune.seeds import seeded

if TYPE_CHECKING:
    from torchvision.transforms import v2


class Transform(Protocol):
    """Pillow RGB → float32 [3, H, W]; the result is a function of the image and the seed."""

    def __call__(self, image: Image.Image, seed: int = 0) -> torch.Tensor: ...


class EvalTransform:
    """Squash to height × width (never crop), scale to 0–1, normalise. The seed is accepted and not used."""

    def __init__(self, preprocess: Preprocess) -> None:
        from torchvision.transforms import v2  # slow to import

        self._steps = v2.Compose([_resize(preprocess), *_to_normalised(preprocess)])

    def __call__(self, image: Image.Image, seed: int = 0) -> torch.Tensor:
        return cast(torch.Tensor, self._steps(image))


class TrainTransform:
    """The augmentation of the re-identification literature: squash, flip, pad and crop back, normalise, erase.

    ``flip`` and ``erase`` are probabilities; ``pad`` is pixels of black on every side, from which height × width are
    cropped at random. Random erasing (Zhong et al., AAAI 2020) covers 2–40 % of the area with the mean colour, which
    is 0 after normalisation. Raises ``SettingsError`` for values out of range.
    """

    def __init__(self, preprocess: Preprocess, flip: float = 0.5, pad: int = 10, erase: float = 0.5) -> None:
        from torchvision.transforms import v2

        for name, value in (("flip", flip), ("erase", erase)):
            if not 0 <= value <= 1:
                raise SettingsError(f"{name} is {value}, not a probability.", "Choose a value from 0 to 1.")
        if pad < 0:
            raise SettingsError(f"pad is {pad}, a negative number of pixels.", "Choose 0 or more pixels.")
        steps = [_resize(preprocess), v2.RandomHorizontalFlip(flip)]
        if pad:
            steps += [v2.Pad(pad), v2.RandomCrop((preprocess.height, preprocess.width))]
        steps += _to_normalised(preprocess)
        steps.append(v2.RandomErasing(erase, scale=(0.02, 0.4), value=0))
        self._steps = v2.Compose(steps)

    def __call__(self, image: Image.Image, seed: int = 0) -> torch.Tensor:
        with seeded(seed):
            return cast(torch.Tensor, self._steps(image))


def _resize(preprocess: Preprocess) -> v2.Transform:
    from torchvision.transforms import v2

    mode = v2.InterpolationMode(preprocess.interpolation)
    return v2.Resize((preprocess.height, preprocess.width), interpolation=mode, antialias=True)


def _to_normalised(preprocess: Preprocess) -> list[v2.Transform]:
    from torchvision.transforms import v2

    to_float = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]
    return [*to_float, v2.Normalize(list(preprocess.mean), list(preprocess.std))]
