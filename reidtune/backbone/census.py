"""One architecture, built without memory, and what there is to say of it."""

from __future__ import annotations

import copy
from typing import Any

import open_clip
import torch
from torch import nn

from reidtune.backbone.architecture import Architecture
from reidtune.backbone.families import image_tower, text_tower
from reidtune.backbone.support import image_reason, text_reason
from reidtune.errors import SettingsError


def row_of(name: str) -> dict[str, Any]:
    """What ``reidtune backbones --json`` says of one of open_clip's architectures.

    ``image`` and ``text``: ``{"supported", "reason", "parameters"}`` and, where supported, ``family``, ``pooling``,
    ``width``, ``layers`` and ``heads``; ``parameters`` is null where the tower needs files of the Hugging Face hub to
    be built. ``tokenizer`` is null where the text tower is not supported.
    """
    config: dict[str, Any] = copy.deepcopy(open_clip.get_model_config(name))
    architecture = Architecture(name, config, {})
    height, width = architecture.image_size
    reasons = {"image": image_reason(config), "text": text_reason(config)}
    model = _without_memory(config)
    towers: dict[str, Any] = {}
    if not reasons["image"]:
        try:
            towers["image"] = image_tower(model, architecture, (height, width))
        except SettingsError as error:
            reasons["image"] = error.message
    if not reasons["text"]:
        towers["text"] = text_tower(model, architecture)
    counts = _parameters(model, config)
    found: dict[str, Any] = {}
    for kind, reason in reasons.items():
        found[kind] = {"supported": not reason, "reason": reason, "parameters": counts[kind]}
        if kind in towers:
            tower = towers[kind]
            pooling = tower.pooling if kind == "image" else tower.pooled_row
            found[kind] |= {"family": tower.family, "pooling": pooling, "width": tower.width}
            found[kind] |= {"layers": tower.layers, "heads": tower.heads}
    return {
        "name": name,
        **found,
        "image_size": [height, width],
        "features": config["embed_dim"],
        "tokenizer": None if reasons["text"] else architecture.tokenizer,
        "tags": open_clip.list_pretrained_tags_by_model(name),
    }


def _without_memory(config: dict[str, Any]) -> nn.Module:
    """The model of a configuration on the meta device; without its text tower where that needs files of the hub."""
    own = copy.deepcopy(config)
    custom = own.pop("custom_text", False)
    if own["text_cfg"].get("hf_model_name"):
        own.pop("multimodal_cfg", None)
        own["text_cfg"] = {"layers": 1, "width": 8, "heads": 1, "vocab_size": 1, "context_length": 1}
        custom = True
    own["vision_cfg"]["timm_model_pretrained"] = False
    kind = open_clip.CoCa if "multimodal_cfg" in own else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    with torch.device("meta"):
        model: nn.Module = kind(**own)
    return model


def _parameters(model: nn.Module, config: dict[str, Any]) -> dict[str, int | None]:
    """Parameters of each tower; CoCa's decoder and the logit scale belong to neither."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    image = sum(size for name, size in sizes.items() if name.startswith("visual."))
    others = ("visual.", "logit_", "text_decoder.")
    text = sum(size for name, size in sizes.items() if not name.startswith(others))
    return {"image": image, "text": None if config["text_cfg"].get("hf_model_name") else text}
