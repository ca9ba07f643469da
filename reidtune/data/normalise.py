"""8-bit pixels to the numbers a backbone reads, a whole batch at once, on the device it is for."""

from __future__ import annotations

import torch
from torch import Tensor

from reidtune.backbone.preprocess import Preprocess

_AT_ONCE = 1 << 18  # values, so that what is written is still in the processor's cache when it is read again


def normalise(pixels: Tensor, erased: Tensor, preprocess: Preprocess, device: torch.device | None = None) -> Tensor:
    """Scale ``pixels`` uint8 [N, ..., 3, H, W] to 0–1 and normalise them: float32 of that shape.

    ``erased`` [N, ..., 4] integers are rectangles (top, left, height, width) that are 0 afterwards. On every ``device``
    (the CPU by default) the numbers are the same, bit for bit: others than the CPU look them up in a table of the 256
    values of each colour, which the CPU computes. To CUDA go the 8-bit pixels, from pinned memory: a quarter of the
    bytes.
    """
    shape = pixels.shape
    pixels, erased = pixels.reshape(-1, *shape[-3:]), erased.reshape(-1, 4)
    if device is None or device.type == "cpu":
        result = torch.empty(pixels.shape)
        step = max(1, _AT_ONCE // pixels[0].numel()) if len(pixels) else 1
        for start in range(0, len(pixels), step):
            _scale(pixels[start : start + step], preprocess, result[start : start + step])
        for image, (top, left, height, width) in zip(result, erased.tolist(), strict=True):
            if height:
                image[:, top : top + height, left : left + width] = 0
        return result.view(shape)
    return _look_up(pixels, erased, preprocess, device).view(shape)


def _scale(pixels: Tensor, preprocess: Preprocess, out: Tensor) -> None:
    """As torchvision does it: times 1/255, minus the mean, divided by the deviation, each rounded to float32."""
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    out.copy_(pixels).mul_(1 / 255).sub_(mean).div_(deviation)


def _look_up(pixels: Tensor, erased: Tensor, preprocess: Preprocess, device: torch.device) -> Tensor:
    values = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    table = torch.empty(values.shape)
    _scale(values, preprocess, table)
    pixels, erased = (_move(tensor, device) for tensor in (pixels, erased.to(torch.int32)))
    colours = 256 * torch.arange(3, dtype=torch.int32, device=device).view(3, 1, 1)
    places = (pixels.int() + colours).flatten()
    result = _move(table.flatten(), device).index_select(0, places).view(pixels.shape)
    top, left, height, width = erased.T[..., None]
    rows, columns = (torch.arange(count, dtype=torch.int32, device=device) for count in pixels.shape[-2:])
    inside = ((rows >= top) & (rows < top + height))[:, :, None] & ((columns >= left) & (columns < left + width))[
        :, None
    ]
    return result.masked_fill_(inside[:, None], 0)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
