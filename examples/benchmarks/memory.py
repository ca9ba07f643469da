"""Claim: what autograd keeps for each method on ViT-B/16, fp32, counted and not timed.

    python examples/benchmarks/memory.py          # images, 256×128
    python examples/benchmarks/memory.py text     # pairs of image and caption, 384×128, captions of 30 tokens
    python examples/benchmarks/memory.py multimodal  # triplets, 256×128

Bytes of distinct storages that saved-tensor hooks see, parameters excluded; the growth from two to four samples is the
cost of a sample, the rest does not grow with the batch. Of a method with stages, the last one counts. Seeded random
weights: the count does not depend on values.
"""

from __future__ import annotations

import argparse

import torch

from reidtune.backbone.load import load_backbone
from reidtune.data.batch import Batch
from reidtune.methods.base import Facts
from reidtune.methods.registry import find_method, method_names
from reidtune.model import Model
from reidtune.training.memory import saved_bytes

SIZES = {"image": (256, 128), "text": (384, 128), "multimodal": (256, 128)}
MODALITIES = ("rgb", "nir", "tir")
CAPTION = "a " * 28  # start and end token make it 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", choices=SIZES, default="image")
    task = parser.parse_args().task
    size = SIZES[task]
    backbone = load_backbone("ViT-B-16", "none", image_size=size, activation="quick_gelu")
    modalities = MODALITIES if task == "multimodal" else ()
    shape = (3, 3, *size) if modalities else (3, *size)
    rows = []
    for name in method_names():
        page = find_method(name)
        if task not in page.tasks:
            continue
        method = page(page.complete(page.Settings(), Facts(task, "person", 2, 1, modalities)))
        model = Model(backbone, method.tuner(backbone))
        last = method.stages()[-1]
        for key, parameter in model.tuner.named_parameters():
            parameter.requires_grad_(last.trains(key))
        method.begin(last, model, [])
        model.tuner.train()
        held = [*model.tuner.parameters(), *backbone.model.parameters()]

        def kept(count: int, method=method, model=model, held=held) -> int:
            texts = backbone.tokenizer([CAPTION] * count) if task == "text" else None
            batch = Batch(torch.zeros(count, *shape), None, torch.zeros(count, dtype=torch.int64), None, texts)
            return saved_bytes(lambda: method.encode(model, batch), held)

        two, four = kept(2), kept(4)
        sample = (four - two) / 2
        rows.append((name, model.tuner.parameter_count(), sample, four - 4 * sample))
    full = next(sample for name, _, sample, _ in rows if name == "full")
    print("| method | trainable | kept a sample | of full | kept once |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, count, sample, once in rows:
        share = 100 * sample / full
        print(f"| `{name}` | {count:,} | {sample / 2**20:.1f} MiB | {share:.0f} % | {once / 2**20:.0f} MiB |")


if __name__ == "__main__":
    main()
