"""Features in files: an array ``.npy`` with a table beside it is written row by row, anybody's is read in place."""

from __future__ import annotations

import contextlib
import csv
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reidtune.data.scan import show
from reidtune.errors import DataError, ReidtuneError, SettingsError

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".npy", ".safetensors")
TENSOR = "features"  # what is read of a .safetensors file with several tensors
_HEADER = 128  # bytes before the first value of what is written here
_ENTRIES = 2**22  # values that are checked at a time


def table_beside(path: Path) -> Path:
    """The table of features in ``path``: ``a.csv`` of ``a.npy``."""
    return path.with_suffix(".csv")


def check_target(path: Path, force: bool) -> None:
    """Raise :class:`SettingsError` where a :class:`FeatureWriter` to ``path`` would fail or replace a file unasked."""
    if path.suffix.lower() != ".npy":
        raise SettingsError(f"--output {show(path)} is no .npy file.", "Choose a name such as features.npy.")
    for file in (path, table_beside(path)):
        if file.is_dir():
            raise SettingsError(f"--output: {show(file)} is a folder.", "Choose another name.")
        if file.exists() and not force:
            raise SettingsError(f"--output: {show(file)} exists.", "Choose another name, or replace it with --force.")


class FeatureWriter:
    """Writes features [N, D] float32 to ``path`` and a row of text for each to the table beside it, in UTF-8.

    Rows are appended and not held in memory. Used with ``with``: both files appear under their names, complete, when
    the block ends; when it ends with an error or without a row, neither does, and earlier ones stay.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.table, self.columns = path, table_beside(path), columns
        self.rows = self.width = 0

    def __enter__(self) -> FeatureWriter:
        ending = f".{secrets.token_hex(4)}.partial"
        self._partial = [file.with_name(f".{file.name}{ending}") for file in (self.path, self.table)]
        self._open = contextlib.ExitStack()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._array: IO[bytes] = self._open.enter_context(self._partial[0].open("xb"))
            text = self._open.enter_context(self._partial[1].open("x", encoding="utf-8", newline=""))
            self._csv, self._text = csv.writer(text, lineterminator="\n"), text
            self._csv.writerow(self.columns)
            self._array.write(bytes(_HEADER))
        except OSError as error:
            self._discard()
            raise self._failure(error) from error
        return self

    def append(self, features: NDArray[np.float32], rows: Iterable[Sequence[str]]) -> None:
        """Append features [B, D] and B rows of the table.

        Raises:
            ReidtuneError: they cannot be written.
        """
        self.width = features.shape[1]
        try:
            self._array.write(np.ascontiguousarray(features, dtype="<f4").data)
            for row in rows:
                self._csv.writerow([utf8(cell) for cell in row])
        except OSError as error:
            raise self._failure(error) from error
        self.rows += len(features)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.rows:
                self._finish()
        except OSError as failure:
            raise self._failure(failure) from failure
        finally:
            self._discard()

    def _finish(self) -> None:
        self._array.seek(0)
        self._array.write(npy_header(self.rows, self.width))
        for written in (self._array, self._text):
            written.flush()
            os.fsync(written.fileno())
        self._open.close()
        self.table.unlink(missing_ok=True)  # at no time does the old table stand beside the new features
        for partial, file in zip(self._partial, (self.path, self.table), strict=True):
            partial.replace(file)

    def _discard(self) -> None:
        with contextlib.suppress(OSError):  # a full disk also fails to flush
            self._open.close()
        for partial in self._partial:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def _failure(self, error: OSError) -> ReidtuneError:
        return ReidtuneError(f"{show(self.path)} could not be written: {error.strerror or error}.")


def npy_header(rows: int, width: int) -> bytes:
    """The first 128 bytes of a ``.npy`` file of little-endian float32 [rows, width], as the NumPy format 1.0 has it:
    always as long, so that it can be written when the number of rows is known."""
    words = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + words.ljust(_HEADER - 11).encode() + b"\n"


def utf8(text: str) -> str:
    """``text`` with bytes of a file name that are no UTF-8 written as ``\\xff``; everything else stays."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_features(path: Path) -> NDArray[Any] | Tensor:
    """Features [N, D] of a ``.npy`` or ``.safetensors`` file (its only tensor, or ``features``), finite numbers of any
    precision; a tensor where NumPy does not know it. The values stay in the file until they are used.

    Raises:
        DataError: there is no such file, it is damaged or holds no features; the row that is not finite is named.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f'"{show(path)}" is neither a .npy nor a .safetensors file.', "Save the features as one.")
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f'The file of features "{show(path)}" {what}.', "Check the path.")
    values = _npy(path) if path.suffix.lower() == ".npy" else _safetensors(path)
    number = values if isinstance(values, np.ndarray) else np.empty(0, np.float32)
    if values.ndim != 2 or not all(values.shape) or number.dtype.kind not in "fiu":
        raise DataError(
            f'"{show(path)}" holds an array of shape {list(values.shape)} and type {values.dtype}.',
            "Features are numbers of shape [N, D]: a row for every image.",
        )
    step = max(1, _ENTRIES // values.shape[1])
    for start in range(0, len(values), step):
        part = values[start : start + step]
        with np.errstate(over="ignore"):  # a double beyond fp32 becomes infinite there
            numbers = part.astype(np.float32, copy=False) if isinstance(part, np.ndarray) else part.float().numpy()
        finite = np.isfinite(numbers).all(axis=1)
        if not finite.all():
            row = start + int(finite.argmin())
            raise DataError(
                f'"{show(path)}": the features of row {row} (from 0) are not finite numbers of 32 bits.',
                "The model that made them is broken.",
            )
    return values


def _npy(path: Path) -> NDArray[Any]:
    try:
        # Copy-on-write: nothing is ever written, but torch wants arrays that could be.
        loaded = np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception as error:  # NumPy raises almost anything on damaged bytes
        raise DataError(f'"{show(path)}" cannot be read as an array: {error}', "Save it again with numpy.save.") from (
            error
        )
    if not isinstance(loaded, np.ndarray):
        raise DataError(f'"{show(path)}" holds several arrays.', "Save one with numpy.save.")
    return loaded


def _safetensors(path: Path) -> NDArray[Any] | Tensor:
    import torch
    from safetensors import safe_open

    try:
        # By way of torch, which leaves the values in the file and knows bfloat16.
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            name = names[0] if len(names) == 1 else TENSOR
            tensor = file.get_tensor(name) if name in names else None
    except Exception as error:  # the library raises its own error, the system others
        raise DataError(f'"{show(path)}" is damaged: {error}', "Save it again.") from error
    if tensor is None:
        some = ", ".join(show(name) for name in names[:5]) or "none"
        raise DataError(
            f'"{show(path)}" holds {len(names)} tensors ({some}), none of them called {TENSOR}.',
            f"Save the features alone, or under the name {TENSOR}.",
        )
    if tensor.dtype == torch.bfloat16 or (tensor.dtype.is_floating_point and tensor.dtype.itemsize == 1):
        kept: Tensor = tensor
        return kept
    values: NDArray[Any] = tensor.numpy()
    return values
