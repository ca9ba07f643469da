"""What images must become: torchvision's own transforms, one after the other, for tests to compare with."""

from __future__ import annotations

import torch
from torchvision.transforms import v2

from reidtune.seeds import seeded


def reference_transform(preprocess, flip=0.0, pad=0, erase=0.0):
    """(image, seed) → float32 [3, H, W]; the defaults are those of evaluation."""
    mode = v2.InterpolationMode(preprocess.interpolation)
    size = (preprocess.height, preprocess.width)
    steps = [v2.Resize(size, interpolation=mode, antialias=True), v2.RandomHorizontalFlip(flip)]
    if pad:
        steps += [v2.Pad(pad), v2.RandomCrop(size)]
    steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]
    steps += [v2.Normalize(list(preprocess.mean), list(preprocess.std)), v2.RandomErasing(erase, scale=(0.02, 0.4))]
    composed = v2.Compose(steps)

    def transform(image, seed=0):
        with seeded(seed):
            return composed(image)

    return transform
