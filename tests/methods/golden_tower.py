"""The tiny CLIP of the reference numbers as towers of ours."""

from __future__ import annotations

import json

import open_clip
from safetensors.torch import load_file

from reidtune.backbone.open_clip_tower import OpenClipTower
from reidtune.backbone.text_tower import TextTower


def read(folder, name):
    """``(tensors, explanation, image tower, text tower)`` of ``NAME.safetensors``, the weights loaded and frozen."""
    tensors = load_file(folder / f"{name}.safetensors")
    explanation = json.loads((folder / f"{name}.json").read_text())
    config = explanation["open_clip_config"]
    model = open_clip.CLIP(**config).eval().requires_grad_(False)
    weights = {key.removeprefix("clip."): value for key, value in tensors.items() if key.startswith("clip.")}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"logit_scale", "attn_mask"}
    vision, text = config["vision_cfg"], config["text_cfg"]
    height, width = vision["image_size"]
    patch = vision["patch_size"]
    image_tower = OpenClipTower(
        model,
        {
            "layers": vision["layers"],
            "heads": vision["width"] // vision["head_width"],
            "patch": (patch, patch),
            "grid": (height // patch, width // patch),
        },
        config["embed_dim"],
    )
    text_config = {key: text[key] for key in ("layers", "heads")} | {"context": text["context_length"]}
    return tensors, explanation, image_tower, TextTower(model, text_config, config["embed_dim"])


def close(ours, theirs, tolerance):
    """Within ``atol`` + ``rtol`` · |theirs|, everywhere."""
    return bool(((ours - theirs).abs() <= tolerance["atol"] + tolerance["rtol"] * theirs.abs()).all())


def relative(ours, theirs):
    """The largest error as a share of the largest entry."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))
