"""Features wherever they are (tensors, arrays, files), read some rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidtune.errors import SettingsError
from reidtune.retrieval.features_file import read_features

Index = NDArray[np.int64]


class FeatureRows:
    """Features [N, D] that stay where they are: a tensor on any device, an array of any precision (mapped from a file,
    too), nested lists, or the path of a file that :func:`reidtune.retrieval.features_file.read_features` reads.

    Raises:
        SettingsError: no numbers, or not of the shape [N, D].
        DataError: a file that cannot be read.
    """

    def __init__(self, values: Any, name: str, chosen: Index | None = None) -> None:
        if isinstance(values, FeatureRows):
            values, chosen = values._values, values._chosen if chosen is None else values._places(chosen)
        if isinstance(values, str | Path):
            values = read_features(Path(values).expanduser())
        self.name = name
        self._values: Tensor | NDArray[Any] = (
            values.detach() if isinstance(values, Tensor) else as_array(values, f"{name} features")
        )
        self._chosen = chosen
        if self._values.ndim != 2 or not len(self) or not self._values.shape[1]:
            shape = tuple(self._values.shape)
            raise SettingsError(f"{name} features must have the shape [N, D] with N, D > 0, but have {shape}.")

    def __len__(self) -> int:
        return len(self._values) if self._chosen is None else len(self._chosen)

    @property
    def width(self) -> int:
        return int(self._values.shape[1])

    @property
    def dtype(self) -> str:
        return str(self._values.dtype).removeprefix("torch.")

    def take(self, rows: Sequence[int] | Index) -> FeatureRows:
        """Some of the rows, in this order; nothing is read or copied."""
        return FeatureRows(self, self.name, np.asarray(rows, dtype=np.int64))

    def whole(self) -> Tensor:
        """All of them as fp32 [N, D]."""
        return self.read(np.arange(len(self)))

    def read(self, rows: Index, device: torch.device | None = None) -> Tensor:
        """Rows as fp32 [n, D], infinite where they are beyond fp32. What is returned may share memory with the
        features."""
        places = self._places(rows)
        together = len(places) > 0 and places[-1] - places[0] + 1 == len(places) and bool((np.diff(places) == 1).all())
        span = slice(int(places[0]), int(places[-1]) + 1) if together else slice(0)
        if isinstance(self._values, Tensor):
            index = torch.from_numpy(places).to(self._values.device)
            part = self._values[span] if together else self._values.index_select(0, index)
        else:
            with np.errstate(over="ignore"):
                array = np.require(self._values[span] if together else self._values[places], np.float32, ["C", "W"])
            part = torch.from_numpy(array)
        return part.to(device or torch.device("cpu"), torch.float32).contiguous()

    def _places(self, rows: Index) -> Index:
        return rows if self._chosen is None else self._chosen[rows]


def as_array(values: Any, name: str) -> NDArray[Any]:
    """Tensors on any device, arrays of any byte order and nested lists, as an array of numbers."""
    if isinstance(values, list | tuple):
        values = [_plain(value) for value in values]
    try:
        array = np.asarray(_plain(values))
    except ValueError as error:  # rows of different lengths
        raise SettingsError(f"{name} are no array: {error}") from error
    if array.dtype.kind not in "fiub":
        raise SettingsError(
            f"{name} must be numbers, but are of the type {array.dtype}.",
            "Identities, cameras and scenes with names need an integer each; unknown cameras are left out as a whole.",
        )
    return array


def integers(values: Any, count: int, name: str) -> Index:
    """Labels as int64 [N].

    Raises:
        SettingsError: another shape, or no whole numbers.
    """
    array = as_array(values, name)
    if array.shape != (count,):
        raise SettingsError(f"{name} must have the shape [{count}], but has {list(array.shape)}.")
    # Whole numbers that int64 holds, of which the comparison with a NaN is false.
    if array.dtype.kind == "f" and (broken := ~((array == np.round(array)) & (np.abs(array) < 2.0**63))).any():
        row = int(broken.argmax())
        raise SettingsError(f"{name} must be integers, but row {row} is {array[row]}.")
    return array.astype(np.int64, copy=False)


def _plain(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return (value.float() if value.dtype == torch.bfloat16 else value).detach().cpu().numpy()
