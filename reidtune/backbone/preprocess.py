"""How an image becomes the input of a backbone: squashed to height × width, scaled to 0–1, normalised."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import open_clip

from reidtune.backbone.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Image preprocessing of a backbone; travels in every delta.

    ``height`` and ``width`` are pixels, ``mean`` and ``std`` are per channel (RGB) of values in 0–1.
    Images are squashed, never cropped: open_clip's own transform would cut head and feet off a portrait.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        return {**values, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Preprocess:
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def own_preprocess(architecture: Architecture, entry: dict[str, Any], size: tuple[int, int]) -> Preprocess:
    """The preprocessing that belongs to weights: what their tag (``entry``) says, or their folder.

    A file without a tag is taken for one of the architecture's tags where these agree (SigLIP's all have 0.5), and for
    OpenAI's mean and deviation where they do not.
    """
    values = {**_agreed(architecture), **architecture.preprocess, **entry}
    return Preprocess(
        height=size[0],
        width=size[1],
        mean=tuple(values.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        std=tuple(values.get("std") or open_clip.OPENAI_DATASET_STD),
        interpolation=values.get("interpolation") or "bicubic",
    )


def _agreed(architecture: Architecture) -> dict[str, Any]:
    """Mean, deviation and interpolation where all tags of the architecture have the same."""
    if architecture.folder is not None:
        return {}
    name = architecture.tag_name
    tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    found = [{key: tag.get(key) for key in ("mean", "std", "interpolation")} for tag in tags]
    return found[0] if found and all(one == found[0] for one in found) else {}
