"""The delta: the small, self-describing file that a training leaves. Importing this loads neither torch nor NumPy."""

from reidtune.delta.format import DeltaHeader, TensorEntry
from reidtune.delta.read import (
    DeltaFile,
    check_backbone,
    find_delta,
    read_file,
    read_header,
    read_tensors,
    verify,
)
from reidtune.delta.write import write_delta

__all__ = [
    "DeltaFile",
    "DeltaHeader",
    "TensorEntry",
    "check_backbone",
    "find_delta",
    "read_file",
    "read_header",
    "read_tensors",
    "verify",
    "write_delta",
]
