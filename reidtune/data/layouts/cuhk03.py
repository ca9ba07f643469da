"""The original CUHK03 (Li et al., CVPR 2014), one file ``cuhk-03.mat``: recognised, and refused with a pointer.

Its 20 splits with one query and one gallery image an identity have given way to the new protocol (Zhong et al., CVPR
2017), CUHK03-NP, whose images lie in folders that :mod:`reidtune.data.layouts.market1501` reads.
"""

from __future__ import annotations

from pathlib import Path

from reidtune.data.layouts.registry import Layout
from reidtune.data.record import Dataset
from reidtune.data.scan import show
from reidtune.errors import DataError

MAT = "cuhk-03.mat"
PLACES = (MAT, f"cuhk03_release/{MAT}", *(f"cuhk03_new_protocol_config_{kind}.mat" for kind in ("detected", "labeled")))
EXTRACTED = tuple(f"{kind}/bounding_box_train" for kind in ("detected", "labeled"))


def recognise(path: Path) -> bool:
    """The file itself, or a folder with it and without CUHK03-NP beside it."""
    if path.is_file():
        return path.name == MAT
    return any((path / place).is_file() for place in PLACES) and not any((path / place).is_dir() for place in EXTRACTED)


def read(path: Path, protocol: str | None = None) -> Dataset:
    """Raises ``DataError``: the images are inside a MATLAB file."""
    raise DataError(
        f'"{show(path)}" is the original CUHK03, whose images are inside {MAT}; it is not read.',
        "Take CUHK03-NP, the same images under the new protocol (767 training and 700 test identities): folders "
        "detected and labeled with bounding_box_train, query and bounding_box_test, of which you name one.",
    )


LAYOUT = Layout(
    name="cuhk03",
    summary="the original cuhk-03.mat: refused with a pointer to CUHK03-NP",
    recognise=recognise,
    read=read,
)
