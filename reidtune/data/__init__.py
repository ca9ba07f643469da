"""Datasets: what lies on disk becomes records, and records become batches of images."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reidtune.data.open import open_dataset, require_split
from reidtune.data.record import Dataset, ImageFile, Record, cameras, identities
from reidtune.data.sampler import IdentitySampler, ShuffleSampler
from reidtune.data.samples import samples_below
from reidtune.data.scan import images_below, images_in
from reidtune.data.split import label_map, split_identities

if TYPE_CHECKING:
    from reidtune.data.batch import Batch, make_batch
    from reidtune.data.captions import caption_ids, one_caption_each
    from reidtune.data.check import check_files
    from reidtune.data.image import read_image
    from reidtune.data.loader import eval_loader, train_loader
    from reidtune.data.masking import mask_words
    from reidtune.data.modality_dropout import drop_modalities
    from reidtune.data.transforms import EvalTransform, TrainTransform

_LATER = {  # these import Pillow or torch
    "Batch": "batch",
    "caption_ids": "captions",
    "check_files": "check",
    "read_image": "image",
    "drop_modalities": "modality_dropout",
    "eval_loader": "loader",
    "make_batch": "batch",
    "mask_words": "masking",
    "one_caption_each": "captions",
    "train_loader": "loader",
    "EvalTransform": "transforms",
    "TrainTransform": "transforms",
}

__all__ = [
    "Batch",
    "Dataset",
    "EvalTransform",
    "IdentitySampler",
    "ImageFile",
    "Record",
    "ShuffleSampler",
    "TrainTransform",
    "cameras",
    "caption_ids",
    "check_files",
    "drop_modalities",
    "eval_loader",
    "identities",
    "images_below",
    "images_in",
    "label_map",
    "make_batch",
    "mask_words",
    "one_caption_each",
    "open_dataset",
    "read_image",
    "require_split",
    "samples_below",
    "split_identities",
    "train_loader",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"reidtune.data.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
