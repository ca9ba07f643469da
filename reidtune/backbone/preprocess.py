"""How an image becomes the input of a backbone: squashed to height × width, scaled to 0–1, normalised."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
