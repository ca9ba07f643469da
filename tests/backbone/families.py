"""A small model of two blocks for every family of towers, as open_clip configurations."""

from __future__ import annotations

import copy
import json
from typing import Any

import open_clip
import timm
import torch
from safetensors.torch import save_file
from timm.models import register_model

from reidtune.backbone.load import load_backbone

SMALL_TEXT = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
OPEN_CLIP = {"image_size": [32, 16], "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
TIMM = {"timm_model_pretrained": False}
_TINY = {"depth": 2, "embed_dim": 32, "num_heads": 2, "img_size": 32, "patch_size": 8}


def _register(name: str, original: str, **small: Any) -> None:
    def entry(pretrained: bool = False, **options: Any) -> torch.nn.Module:
        model: torch.nn.Module = timm.create_model(original, **{**small, **options})
        return model

    entry.__name__ = name
    entry.__module__ = __name__
    register_model(entry)


_register("small_siglip", "vit_base_patch16_siglip_224", **_TINY)
_register("small_siglip_giant", "vit_giantopt_patch16_siglip_256", **_TINY)
_register("small_clip", "vit_large_patch14_clip_224", **_TINY)
_register("small_gap", "vit_medium_patch16_gap_256", **_TINY)
_register("small_registers", "vit_base_patch14_reg4_dinov2", qk_norm=True, scale_attn_norm=True, **_TINY)
_register("small_eva", "eva_giant_patch14_224", **_TINY)
_register("small_eva02", "eva02_base_patch16_clip_224", **{**_TINY, "ref_feat_shape": (2, 2)})
_register("small_eva02_packed", "eva02_tiny_patch14_224", **_TINY)
_register("small_eva02_post_norm", "eva02_enormous_patch14_clip_224", **_TINY)
_register("small_pe", "vit_pe_core_base_patch16_224", **{**_TINY, "ref_feat_shape": (4, 4), "attn_pool_num_heads": 4})
_register("small_pe_giant", "vit_pe_core_gigantic_patch14_448", **{**_TINY, "attn_pool_num_heads": 4})
_register("small_vitamin", "vitamin_small_224", depth=2, num_heads=4, img_size=32)
_register("small_mobile", "vit_base_mci_224", depth=2, num_heads=4, img_size=32)
_register("small_differential", "vit_large_patch14_clip_224", attn_layer="diff", **_TINY)
_register("small_relative", "vit_relpos_medium_patch16_cls_224", **_TINY)


def config(vision: dict[str, Any], text: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    return copy.deepcopy(
        {"embed_dim": 24, "quick_gelu": False, "vision_cfg": vision, "text_cfg": {**SMALL_TEXT, **(text or {})}}
        | others
    )


def _timm(name: str, pool: str, projection: str | None, size: int = 32, **others: Any) -> dict[str, Any]:
    vision = {**TIMM, "timm_model_name": name, "image_size": size, "timm_pool": pool, "timm_proj": projection}
    return {**vision, **others}


_SIGLIP_TEXT = {
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
    "act_kwargs": {"approximate": "tanh"},
    "tokenizer_kwargs": {"clean": "canonicalize"},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "clip": config(OPEN_CLIP, quick_gelu=True),
    "clip, custom text": config(OPEN_CLIP, custom_text=True, init_logit_bias=-10.0),
    "clip, layer scale, no ln_pre": config(
        {**OPEN_CLIP, "ls_init_value": 0.1, "no_ln_pre": True}, {"ls_init_value": 0.1}
    ),
    "clip, norms inside": config(
        {**OPEN_CLIP, "qk_norm": True, "scale_attn_inner": True, "scale_fc": True}, {"qk_norm": True, "scale_fc": True}
    ),
    "clip, sines": config({**OPEN_CLIP, "image_size": 32, "pos_embed_type": "sin_cos_2d", "pool_type": "avg"}),
    "clip, both ways": config(OPEN_CLIP, {"no_causal_mask": True}),
    "clip, first row": config(OPEN_CLIP, {"pool_type": "first", "no_causal_mask": True}),
    "worldwide": config(OPEN_CLIP, {"pool_type": "eos", "eos_id": 2}),
    "clipa": config(
        {**OPEN_CLIP, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        {"pool_type": "last", "no_causal_mask": True},
    ),
    "coca": config(
        {
            **OPEN_CLIP,
            "attentional_pool": True,
            "attn_pooler_heads": 4,
            "attn_pooler_queries": 5,
            "output_tokens": True,
        },
        {"embed_cls": True, "output_tokens": True},
        multimodal_cfg={"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        custom_text=True,
    ),
    "siglip": config(_timm("small_siglip", "map", "none"), _SIGLIP_TEXT, embed_dim=32, custom_text=True),
    "siglip2, giant": config(
        _timm("small_siglip_giant", "map", "none"),
        {**_SIGLIP_TEXT, "proj_type": "none", "proj_bias": False, "width": 32},
        embed_dim=32,
        custom_text=True,
        init_logit_bias=-10,
    ),
    "timm clip": config(_timm("small_clip", "token", None), {"no_causal_mask": True}, custom_text=True),
    "timm mean": config(_timm("small_gap", "", "linear")),
    "timm registers": config(_timm("small_registers", "avg", "mlp", timm_proj_bias=True)),
    "eva": config(_timm("small_eva", "token", None), custom_text=True),
    "eva02": config(_timm("small_eva02", "token", None), custom_text=True),
    "eva02, packed": config(_timm("small_eva02_packed", "avg", None), custom_text=True),
    "eva02, norm after": config(_timm("small_eva02_post_norm", "token", None), custom_text=True),
    "pe-core": config(_timm("small_pe", "map", None), custom_text=True),
    "pe-core, giant": config(_timm("small_pe_giant", "map", None), custom_text=True),
    "vitamin": config(_timm("small_vitamin", "", "linear"), custom_text=True),
    "mobileclip": config(_timm("small_mobile", "token", None), custom_text=True),
}


def plain(config: dict[str, Any], seed: int = 3) -> Any:
    """The open_clip model of a configuration, in no parameter at its initial values."""
    own = copy.deepcopy(config)
    custom = own.pop("custom_text", False)
    kind = open_clip.CoCa if "multimodal_cfg" in own else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(**own).eval()
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn_like(value)
                value += 0.05 * (noise.abs() if name.endswith("running_var") else noise)
    return model.requires_grad_(False)


def folder(path: Any, config: dict[str, Any], **preprocess: Any) -> Any:
    """A model folder with the weights of :func:`plain`; returns that model."""
    model = plain(config)
    path.mkdir(exist_ok=True)
    content = {"model_cfg": config, "preprocess_cfg": preprocess}
    (path / "open_clip_config.json").write_text(json.dumps(content))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, path / "open_clip_model.safetensors")
    return model


def load(path: Any, config: dict[str, Any], **options: Any) -> Any:
    """``(backbone, plain model)`` of a configuration."""
    model = folder(path, config)
    return load_backbone(f"local-dir:{path}", **options), model


def inputs(backbone: Any, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and token ids: words, then the end, then padding."""
    generator = torch.Generator().manual_seed(7)
    size = (backbone.preprocess.height, backbone.preprocess.width)
    images = torch.randn(count, 3, *size, generator=generator)
    ids = torch.randint(3, 500, (count, backbone.text.context), generator=generator)
    ids[:, 0] = 49406
    for row in range(count):
        ids[row, 5 + row] = backbone.text.eos_id if backbone.text.pooling == "eos" else 49407
        ids[row, 6 + row :] = backbone.text.pad_id
    return images, ids


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest error as a share of the largest entry."""
    return float((ours - theirs).abs().max() / theirs.abs().max())
