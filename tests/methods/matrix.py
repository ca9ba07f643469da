"""The contract matrix: every method, one row. A new method gets its tests by adding a row here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """What a method promises. ``settings`` are small ones for the tests; ``tensors`` is the key set of a delta on a
    backbone of two image blocks, with ``{l}`` for a layer; ``task`` is the data that it is tried on; ``mergeable``
    says whether it exports to plain open_clip."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    tensors: tuple[str, ...] = ()
    mergeable: bool = False
    task: str = "image"


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

_TEXT_TENSORS = (
    "positional_embedding",
    "text_projection",
    "token_embedding/weight",
    "ln_final/weight",
    "ln_final/bias",
)
_LINEAR = ("weight", "bias")
_BOTTLENECK = tuple(f"{n}.{m}" for n in ("down", "up") for m in _LINEAR)
_PERCEPTRON = tuple(f"{n}.{m}" for n in ("fc1", "fc2") for m in _LINEAR)
_NORMED = (*_BOTTLENECK, "norm.weight", "norm.bias")
_MIXTURE = (
    *("norm.weight", "norm.bias", "gate.weight", "domain_gate.weight", "domain", "alpha"),
    *("down.weight", "down.bias", "up", "up_bias"),
)
_IMAGE_DIFFERENCE = (
    *(f"{name}" for name in (*_IMAGE_TENSORS, *_NORMS)),
    *(f"transformer/resblocks/{{l}}/{name}" for name in _BLOCK),
)
_FACTORED = (  # matrices for which two factors of rank 2 are smaller
    *("positional_embedding", "proj", "conv1/weight"),
    *("in_proj_weight", "out_proj/weight", "c_fc/weight", "c_proj/weight"),
)
_TEXT_DIFFERENCE = (*_TEXT_TENSORS, *(f"transformer/resblocks/{{l}}/{name}" for name in _BLOCK))

_LAST = tuple(  # of full, bias and norm in the last of the two blocks: it, and what comes behind it
    name.format(l=1) for name in _IMAGE_DIFFERENCE if "{l}" in name or name.startswith("ln_post") or name == "proj"
)

_PER_MODALITY = {"per_modality": True, "modalities": ["rgb", "nir", "tir"]}
_DMPT = {
    "modalities": ["rgb", "nir", "tir"],
    "texts": {"rgb": "a photo", "nir": "a near-infrared photo", "tir": "a thermal-infrared photo"},
}


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{kind}_{name}" for kind in ("image", "text") for name in names)


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
        tensors=tuple(f"difference.{name}" for name in _IMAGE_DIFFERENCE),
        mergeable=True,
    ),
    Row(
        "full",
        {"difference_rank": 2},
        tuple(
            f"difference.{name}{side}"
            for name in _IMAGE_DIFFERENCE
            for side in (("/left", "/right") if name in _FACTORED or name.endswith(_FACTORED) else ("",))
        ),
        mergeable=True,
    ),
    Row(
        "lora",
        {"rank": 2, "towers": "both", "dropout": 0.2},
        tuple(f"{prefix}lora.{{l}}.{n}.{m}" for prefix in ("", "text_") for n in "qv" for m in "AB"),
        mergeable=True,
        task="text",
    ),
    Row(
        "adapter",
        {"width": 4, "towers": "both"},
        tuple(f"{prefix}adapter.{{l}}.{name}" for prefix in ("", "text_") for name in _BOTTLENECK),
        task="text",
    ),
    Row(
        "full",
        {"towers": "both"},
        (
            *(f"difference.{name}" for name in _IMAGE_DIFFERENCE),
            *(f"text_difference.{name}" for name in _TEXT_DIFFERENCE),
        ),
        mergeable=True,
        task="text",
    ),
    Row(
        "adapter",
        {"width": 4, "placement": "sequential", "scale": 1.0},
        tuple(f"adapter.{{l}}_{place}.{name}" for place in ("attention", "mlp") for name in _BOTTLENECK),
    ),
    Row("bias", tensors=tuple(f"difference.{n}" for n in _IMAGE_DIFFERENCE if n.endswith("bias")), mergeable=True),
    Row("norm", tensors=tuple(f"difference.{n}" for n in _IMAGE_DIFFERENCE if "ln_" in n), mergeable=True),
    Row(
        "ssf",
        tensors=tuple(
            f"ssf.{name}_{part}"
            for name in (
                "patches",
                "ln_post",
                *(f"{{l}}_{n}" for n in ("ln_1", "ln_2", "q", "k", "v", "out", "fc1", "fc2")),
            )
            for part in ("scale", "shift")
        ),
        mergeable=True,
    ),
    Row("prefix", {"rows": 3}, ("prefix.key", "prefix.value")),
    Row("linear", tensors=("map.matrix",), mergeable=True),
    Row("clip-reid", {"identities": 3}, tuple(f"difference.{name}" for name in _IMAGE_DIFFERENCE)),
    Row(
        "clip-reid",
        {"identities": 3, "tune": "lora", "rank": 2},
        tuple(f"lora.{{l}}.{n}.{m}" for n in "qv" for m in "AB"),
    ),
    Row(
        "clip-reid",
        {"identities": 3, "tune": "adapter", "width": 4},
        tuple(f"adapter.{{l}}.{name}" for name in _BOTTLENECK),
    ),
    Row("clip-reid", {"identities": 3, "tune": "vpt", "prompts": 3}, ("visual_prompts.rows",)),
    Row("dm-adapter", {"experts": 3}, _both(*(f"mixture.{{l}}.{name}" for name in _MIXTURE)), task="text"),
    Row(
        "cskt",
        {"tokens": 2},
        (
            *("prompts.image", "prompts.text"),
            *(f"prompts.to_{kind}.{{l}}.{part}" for kind in ("image", "text") for part in _LINEAR),
            *_both(*(f"adapter.{{l}}.{name}" for name in _NORMED)),
        ),
        task="text",
    ),
    Row(
        "prompt-decoupling",
        {"tokens": 2},
        (
            *_both("prompts.prompts"),
            *(f"image_difference.{name}" for name in _IMAGE_DIFFERENCE),
            *(f"text_difference.{name}" for name in _TEXT_DIFFERENCE),
        ),
        task="text",
    ),
    Row(
        "prompt-decoupling",
        {"tune": "lora", "rank": 2},
        _both("prompts.prompts", *(f"lora.{{l}}.{n}.{m}" for n in "qv" for m in "AB")),
        task="text",
    ),
    Row(
        "prompt-decoupling",
        {"tune": "adapter", "width": 4},
        _both("prompts.prompts", *(f"adapter.{{l}}.{name}" for name in _BOTTLENECK)),
        task="text",
    ),
    Row(
        "up-person",
        {"rank": 2, "prefix": 3},
        _both(
            *(f"lora.{{l}}.{n}.{m}" for n in "kv" for m in "AB"),
            *("prefix.key", "prefix.value", "prefix.scale"),
            *(f"norms.{{l}}.{norm}.{name}" for norm in ("ln_1", "ln_2") for name in _BOTTLENECK),
            *(f"norms.{{l}}.{norm}_scale" for norm in ("ln_1", "ln_2")),
        ),
        task="text",
    ),
    Row("coop", {"tokens": 3}, ("text_prompts.prompts",), task="text"),
    Row("ivlp", {}, _both("prompts.prompts"), task="text"),
    Row(
        "maple",
        {},
        ("prompts.prompts", *(f"prompts.to_image.{{l}}.{part}" for part in _LINEAR)),
        task="text",
    ),
    Row(
        "lora",
        {"rank": 2, "dropout": 0.2},
        tuple(f"lora.{{l}}.{n}.{m}" for n in "qv" for m in "AB"),
        mergeable=True,
        task="multimodal",
    ),
    Row(
        "lora",
        {"rank": 2, "dropout": 0.2, **_PER_MODALITY},
        tuple(f"lora.{place}.{{l}}.{n}.{m}" for place in range(3) for n in "qv" for m in "AB"),
        task="multimodal",
    ),
    Row(
        "adapter",
        {"width": 4, **_PER_MODALITY},
        tuple(f"adapter.{place}.{{l}}.{name}" for place in range(3) for name in _BOTTLENECK),
        task="multimodal",
    ),
    Row(
        "dmpt",
        _DMPT,
        ("modality.residual", *(f"modality.maps.{{l}}.{part}" for part in _LINEAR), "semantic.prompts", "bind.rows"),
        task="multimodal",
    ),
    Row(
        "dmpt",
        {**_DMPT, "map": "shared", "bind": "mha"},
        (
            *("modality.residual", "modality.maps.0.weight", "modality.maps.0.bias", "semantic.prompts", "bind.rows"),
            *(f"bind.{way}.in_proj_{part}" for way in ("gather", "inverse") for part in _LINEAR),
            *(f"bind.{way}.out_proj.{part}" for way in ("gather", "inverse") for part in _LINEAR),
        ),
        task="multimodal",
    ),
    Row(
        "dmpt", {**_DMPT, "prior": False, "bind": "none"}, ("modality.residual", "semantic.prompts"), task="multimodal"
    ),
    Row(
        "mambapro",
        {"tokens": 2, "modalities": ["rgb", "nir", "tir"]},
        (
            "prompts.prompts",
            *(f"prompts.transfer.1.{name}" for name in _PERCEPTRON),
            *(f"prompts.between.{{l}}.{place}.{name}" for place in range(3) for name in _PERCEPTRON),
            *(f"adapter.{{l}}.{name}" for name in _PERCEPTRON),
        ),
        task="multimodal",
    ),
    Row(
        "mambapro",
        {"adapters": False, "start": "normal", "modalities": ["rgb", "nir", "tir"]},
        (
            "prompts.prompts",
            *(f"prompts.transfer.1.{name}" for name in _PERCEPTRON),
            *(f"prompts.between.{{l}}.{place}.{name}" for place in range(3) for name in _PERCEPTRON),
        ),
        task="multimodal",
    ),
    Row(
        "mambapro",
        {"prompts": False, "modalities": ["rgb", "nir", "tir"]},
        tuple(f"adapter.{{l}}.{name}" for name in _PERCEPTRON),
        task="multimodal",
    ),
    Row("lora", {"rank": 2, "blocks": 1}, tuple(f"lora.1.{n}.{m}" for n in "qv" for m in "AB"), mergeable=True),
    Row("adapter", {"width": 4, "blocks": 1}, tuple(f"adapter.1.{name}" for name in _BOTTLENECK)),
    Row(
        "adapter",
        {"width": 4, "blocks": 1, "placement": "sequential", "towers": "both"},
        tuple(
            f"{prefix}adapter.1_{place}.{name}"
            for prefix in ("", "text_")
            for place in ("attention", "mlp")
            for name in _BOTTLENECK
        ),
        task="text",
    ),
    Row(
        "lora",
        {"rank": 2, "blocks": 1, "dropout": 0.2, **_PER_MODALITY},
        tuple(f"lora.{place}.1.{n}.{m}" for place in range(3) for n in "qv" for m in "AB"),
        task="multimodal",
    ),
    Row(
        "adapter",
        {"width": 4, "blocks": 1, **_PER_MODALITY},
        tuple(f"adapter.{place}.1.{name}" for place in range(3) for name in _BOTTLENECK),
        task="multimodal",
    ),
    Row("full", {"blocks": 1}, tuple(f"difference.{name}" for name in _LAST), mergeable=True),
    Row("bias", {"blocks": 1}, tuple(f"difference.{n}" for n in _LAST if n.endswith("bias")), mergeable=True),
    Row("norm", {"blocks": 1}, tuple(f"difference.{n}" for n in _LAST if "ln_" in n), mergeable=True),
    Row(
        "ssf",
        {"blocks": 1},
        tuple(
            f"ssf.{name}_{part}"
            for name in ("ln_post", *(f"1_{n}" for n in ("ln_1", "ln_2", "q", "k", "v", "out", "fc1", "fc2")))
            for part in ("scale", "shift")
        ),
        mergeable=True,
    ),
    Row("prefix", {"rows": 3, "blocks": 1}, ("prefix.key", "prefix.value")),
    Row("vpt", {"tokens": 3, "dropout": 0.3, "blocks": 1}, ("prompts.rows",)),
    Row("vpt", {"tokens": 3, "deep": False, "blocks": 1}, ("prompts.rows",)),
)

IDS = [row.name + "".join(f"-{key}={value}" for key, value in row.settings.items()).replace(" ", "") for row in ROWS]
TRAINED = [row for row in ROWS if row.name != "zero-shot"]
TRAINED_IDS = [identity for row, identity in zip(ROWS, IDS, strict=True) if row.name != "zero-shot"]
