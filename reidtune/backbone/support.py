"""Which of open_clip's configurations our towers can walk, and why not."""

from __future__ import annotations

from functools import cache
from typing import Any

import open_clip
import timm
import torch

# Keys that change how an open_clip tower is built and that our walk follows; any other must have open_clip's default.
_VISION = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "ls_init_value", "no_ln_pre"}
_VISION |= {"patch_dropout", "output_tokens", "block_type", "pool_type", "final_ln_after_pool", "attentional_pool"}
_VISION |= {"attn_pooler_queries", "attn_pooler_heads", "pos_embed_type", "act_kwargs", "norm_kwargs", "qk_norm"}
_VISION |= {"scale_attn_inner", "scale_fc"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "ls_init_value", "pad_id", "eos_id"}
_TEXT |= {"output_tokens", "block_type", "pool_type", "no_causal_mask", "embed_cls", "proj_type", "proj_bias"}
_TEXT |= {"act_kwargs", "norm_kwargs", "qk_norm", "scale_attn_inner", "scale_fc"}
_TEXT |= {"hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "final_ln_after_pool"}  # the last one: unused

# Modules of timm whose vision transformers we walk, and what the others of open_clip's list are.
_TIMM = ("vision_transformer", "vision_transformer_hybrid", "vitamin", "eva")
_NO_TOKENS = "has no sequence of tokens to act on"
_OTHERS = {
    "convnext": f"a ConvNeXt {_NO_TOKENS}",
    "fastvit": f"a FastViT, convolutions in the main, {_NO_TOKENS}",
    "swin_transformer": "a Swin transformer attends within windows, where added rows have no place",
    "vision_transformer_relpos": "its attention needs a relative position for every pair of rows",
}


def image_reason(config: dict[str, Any]) -> str:
    """Why our towers cannot walk the image tower of this open_clip configuration; empty where they can."""
    vision = config["vision_cfg"]
    if name := vision.get("timm_model_name"):
        return _timm_reason(name, vision)
    if isinstance(vision.get("layers"), list | tuple):
        return f"a ResNet {_NO_TOKENS}"
    if isinstance(vision.get("attentional_pool"), str):
        return f"its image tower pools with {vision['attentional_pool']} attention"
    return _other_keys("image", vision, _VISION, open_clip.CLIPVisionCfg())


def text_reason(config: dict[str, Any]) -> str:
    """Why our towers cannot walk the text tower of this open_clip configuration; empty where they can."""
    text = config["text_cfg"]
    if name := text.get("hf_model_name"):
        return f"its text tower is {name} of Hugging Face transformers"
    if text.get("embed_cls") and not config.get("custom_text"):
        return "its text tower has a class row, which open_clip reads with custom_text alone"
    return _other_keys("text", text, _TEXT, open_clip.CLIPTextCfg())


@cache
def timm_native(name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width in pixels of the images that timm builds ``name`` for, and of what becomes a row of them."""
    with torch.device("meta"):
        model: Any = timm.create_model(name)
    size, patch = model.patch_embed.img_size, model.patch_embed.feat_ratio(as_scalar=False)
    return (int(size[0]), int(size[1])), (int(patch[0]), int(patch[1]))


def _timm_reason(name: str, vision: dict[str, Any]) -> str:
    if not timm.is_model(name):
        return f"timm {timm.__version__} has no model {name}"
    package, _, module = timm.model_entrypoint(name).__module__.rpartition(".")
    if module in _OTHERS:
        return _OTHERS[module]
    if package == "timm.models" and module not in _TIMM:  # what others register is looked at when it is built
        return f"{name} of timm is no vision transformer that is known here"
    pool = vision.get("timm_pool", open_clip.CLIPVisionCfg.timm_pool)
    return "" if pool in ("", "avg", "token", "map") else f'it pools by "{pool}"'


def _other_keys(tower: str, part: dict[str, Any], known: set[str], default: object) -> str:
    for key, value in part.items():
        if key not in known and value != getattr(default, key, None):
            return f"its {tower} tower has {key} = {value}"
    return ""
