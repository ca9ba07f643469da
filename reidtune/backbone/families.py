"""Which tower walks a model: one class a family."""

from __future__ import annotations

from typing import Any

from torch import nn

from reidtune.backbone.architecture import Architecture
from reidtune.backbone.eva_tower import EvaPostNormTower, EvaTower
from reidtune.backbone.image_tower import ImageTower
from reidtune.backbone.open_clip_tower import OpenClipTower
from reidtune.backbone.text_tower import TextTower
from reidtune.backbone.timm_tower import HybridTower, TimmTower, VitaminTower
from reidtune.errors import SettingsError


def image_tower(model: nn.Module, architecture: Architecture, size: tuple[int, int]) -> ImageTower:
    """The image tower of an open_clip model that was built for images of ``size`` (height, width in pixels).

    Raises:
        SettingsError: a model of timm has parts that no family here knows.
    """
    vision = architecture.config["vision_cfg"]
    width: int = architecture.config["embed_dim"]
    if vision.get("timm_model_name"):
        try:
            return _timm_family(model)(model, width)
        except SettingsError as error:
            raise SettingsError(
                f"The image tower of {architecture.name} ({vision['timm_model_name']} of timm) has no family here. "
                f"{error.message}",
                "See: reidtune backbones --supported",
            ) from error
    patch = architecture.patch
    return OpenClipTower(
        model,
        {
            "layers": vision["layers"],
            "heads": vision["width"] // vision.get("head_width", 64),
            "patch": patch,
            "grid": (size[0] // patch[0], size[1] // patch[1]),
            "pool": vision.get("pool_type", "tok"),
            "norm_after_pool": vision.get("final_ln_after_pool", False),
            "attention_heads": vision.get("attn_pooler_heads", 8) if vision.get("attentional_pool") else 0,
        },
        width,
    )


def text_tower(model: nn.Module, architecture: Architecture) -> TextTower:
    """The text tower of an open_clip model."""
    config = architecture.config
    text = config["text_cfg"]
    width: int = text["width"] if text.get("proj_type") == "none" else config["embed_dim"]
    return TextTower(
        model,
        {
            "prefix": "text." if separate_text(config) else "",
            "layers": text["layers"],
            "heads": text["heads"],
            "context": text.get("context_length", 77),
            "causal": not text.get("no_causal_mask", False),
            "pool": text.get("pool_type", "argmax"),
            "class_row": text.get("embed_cls", False),
            "pad_id": text.get("pad_id", 0),
            "eos_id": text.get("eos_id", 2),
            "tokenizer": architecture.tokenizer,
        },
        width,
    )


def separate_text(config: dict[str, Any]) -> bool:
    """Whether open_clip keeps the text tower in a module of its own."""
    return bool(config.get("custom_text") or config["text_cfg"].get("hf_model_name"))


def _timm_family(model: nn.Module) -> type[TimmTower]:
    trunk: Any = model.get_submodule("visual.trunk")
    if type(trunk).__name__ not in ("Eva", "VisionTransformer"):
        raise SettingsError(f"It is a {type(trunk).__name__}.")
    if type(trunk).__name__ == "Eva":
        return EvaPostNormTower if type(trunk.blocks[0]).__name__ == "EvaBlockPostNorm" else EvaTower
    if not hasattr(trunk.patch_embed, "backbone"):
        return TimmTower
    return VitaminTower if hasattr(trunk.blocks[0].mlp, "w0") else HybridTower
