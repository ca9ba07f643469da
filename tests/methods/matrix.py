"""The contract matrix: every method, one row. A new method gets its tests by adding a row here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """What a method promises. ``settings`` are small ones for the tests; ``tensors`` is the key set of a delta on a
    backbone of two image blocks, with ``{l}`` for a layer; ``mergeable`` says whether it exports to plain open_clip."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    tensors: tuple[str, ...] = ()
    mergeable: bool = False
    lossless: bool = True


_IMAGE_TENSORS = ("class_embedding", "positional_embedding", "proj", "conv1/weight")
_NORMS = ("ln_pre/weight", "ln_pre/bias", "ln_post/weight", "ln_post/bias")
_BLOCK = (
    "ln_1/weight",
    "ln_1/bias",
    "attn/in_proj_weight",
    "attn/in_proj_bias",
    "attn/out_proj/weight",
    "attn/out_proj/bias",
    "ln_2/weight",
    "ln_2/bias",
    "mlp/c_fc/weight",
    "mlp/c_fc/bias",
    "mlp/c_proj/weight",
    "mlp/c_proj/bias",
)

ROWS = (
    Row("zero-shot", mergeable=True),
    Row("lora", tensors=tuple(f"lora.{{l}}.{n}.{m}" for n in "qv" for m in "AB"), mergeable=True),
    Row(
        "lora",
        {"rank": 2, "alpha": 5.0, "targets": ["q", "k", "v", "out", "fc1", "fc2"], "dropout": 0.2},
        tuple(f"lora.{{l}}.{n}.{m}" for n in ("q", "k", "v", "out", "fc1", "fc2") for m in "AB"),
        mergeable=True,
    ),
    Row("vpt", {"tokens": 3, "dropout": 0.3}, ("prompts.rows",)),
    Row("vpt", {"tokens": 3, "deep": False}, ("prompts.rows",)),
    Row("adapter", {"width": 4}, tuple(f"adapter.{{l}}.{n}.{m}" for n in ("down", "up") for m in ("weight", "bias"))),
    Row(
        "full",
        tensors=(
            *(f"difference.{name}" for name in (*_IMAGE_TENSORS, *_NORMS)),
            *(f"difference.transformer/resblocks/{{l}}/{name}" for name in _BLOCK),
        ),
        mergeable=True,
    ),
)

IDS = [row.name + "".join(f"-{key}={value}" for key, value in row.settings.items()).replace(" ", "") for row in ROWS]
TRAINED = [row for row in ROWS if row.name != "zero-shot"]
TRAINED_IDS = [identity for row, identity in zip(ROWS, IDS, strict=True) if row.name != "zero-shot"]
