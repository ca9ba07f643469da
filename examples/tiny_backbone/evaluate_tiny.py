"""What the tiny backbone gives on the demo world without tuning: image and text retrieval on its test people."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from reidtune.demo.cache import demo_folder
from reidtune.demo.tiny import FILE, TINY_CONFIG, TINY_MEAN, TINY_STD, tiny_state_dict

NAME = re.compile(r"([-\d]+)_c(\d)")


def normalise(pixels: Tensor) -> Tensor:
    """[B, 3, H, W] in 0–1 → what the image tower takes."""
    return (pixels - torch.tensor(TINY_MEAN).view(1, 3, 1, 1)) / torch.tensor(TINY_STD).view(1, 3, 1, 1)


def text_features(model: open_clip.CLIP, ids: Tensor, end: Tensor) -> Tensor:
    """``encode_text`` for ids [B, T] of any length T ≤ 77; ``end`` [B] is the column of the end token."""
    length = ids.shape[1]
    x = model.token_embedding(ids) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return x[torch.arange(len(x)), end] @ model.text_projection


def load(file: Path = FILE) -> open_clip.CLIP:
    model = open_clip.CLIP(**{key: TINY_CONFIG[key] for key in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")})
    model.load_state_dict(tiny_state_dict(file))
    return model.eval()


@torch.no_grad()
def image_features(model: open_clip.CLIP, paths: list[Path]) -> Tensor:
    height, width = TINY_CONFIG["vision_cfg"]["image_size"]
    squash = [np.asarray(Image.open(path).convert("RGB").resize((width, height), 3)) for path in paths]
    pixels = torch.from_numpy(np.stack(squash)).permute(0, 3, 1, 2).float() / 255
    return torch.cat([F.normalize(model.visual(normalise(part)), dim=-1) for part in pixels.split(200)])


def score(similarity: Tensor, same: Tensor, drop: Tensor) -> str:
    """Rank-1 and mAP [Q, G]; ``drop`` marks what the protocol ignores."""
    first, precision = [], []
    for row, hit, ignored in zip(similarity, same, drop, strict=True):
        ranked = hit[~ignored][row[~ignored].argsort(descending=True)]
        if ranked.any():
            first.append(bool(ranked[0]))
            places = torch.nonzero(ranked).flatten()
            precision.append(float((torch.arange(1, len(places) + 1) / (places + 1)).mean()))
    return f"rank-1 {np.mean(first):.3f}, mAP {np.mean(precision):.3f}, {len(first)} queries, {same.shape[1]} gallery"


def demo_image_rank1(model: open_clip.CLIP | None = None, seed: int = 0) -> str:
    """Market's rule: junk is out, same identity and same camera is out."""
    folder = demo_folder("image", seed)
    query = sorted((folder / "query").glob("*.jpg"))
    gallery = [path for path in sorted((folder / "bounding_box_test").glob("*.jpg")) if path.name[:2] != "-1"]
    labels = []
    for paths in (query, gallery):
        found = [NAME.search(path.name) for path in paths]
        labels.append(torch.tensor([[int(m[1]), int(m[2])] for m in found if m]))
    model = model or load()
    similarity = image_features(model, query) @ image_features(model, gallery).T
    same = labels[0][:, None, 0] == labels[1][None, :, 0]
    return score(similarity, same, same & (labels[0][:, None, 1] == labels[1][None, :, 1]))


@torch.no_grad()
def demo_text_rank1(model: open_clip.CLIP | None = None, seed: int = 0) -> str:
    """Every caption of the test split is a query, every image of it the gallery."""
    folder = demo_folder("text", seed)
    entries = [e for e in json.loads((folder / "reid_raw.json").read_text()) if e["split"] == "test"]
    model = model or load()
    images = image_features(model, [folder / "imgs" / e["file_path"] for e in entries])
    lines = [line for e in entries for line in e["captions"]]
    ids = open_clip.get_tokenizer("ViT-B-32")(lines)
    texts = torch.cat([F.normalize(text_features(model, part, part.argmax(dim=1)), dim=-1) for part in ids.split(200)])
    owner = torch.tensor([e["id"] for e in entries])
    asked = torch.tensor([e["id"] for e in entries for _ in e["captions"]])
    same = asked[:, None] == owner[None]
    return score(texts @ images.T, same, torch.zeros_like(same))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the demo world")
    seed = parser.parse_args().seed
    print(f"demo world, image, zero-shot: {demo_image_rank1(seed=seed)}")
    print(f"demo world, text, zero-shot: {demo_text_rank1(seed=seed)}")
