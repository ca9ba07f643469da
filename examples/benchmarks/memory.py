"""Claim: what autograd keeps for each method on ViT-B/16 at 256×128 pixels, fp32, counted and not timed.

    python examples/benchmarks/memory.py

Bytes of distinct storages that saved-tensor hooks see, parameters excluded; the growth from two to four images is the
cost of an image, the rest does not grow with the batch. Seeded random weights: the count does not depend on values.
"""

from __future__ import annotations

import torch

from reidtune.backbone.load import load_backbone
from reidtune.data.batch import Batch
from reidtune.methods.registry import find_method, method_names
from reidtune.model import Model
from reidtune.training.memory import saved_bytes

SIZE = (256, 128)


def main() -> None:
    backbone = load_backbone("ViT-B-16", "none", image_size=SIZE, activation="quick_gelu")
    rows = []
    for name in method_names():
        page = find_method(name)
        method = page(page.Settings())
        model = Model(backbone, method.tuner(backbone))
        model.tuner.train()
        held = [*model.tuner.parameters(), *backbone.model.parameters()]
        two, four = (
            saved_bytes(lambda n=n, m=method, o=model: m.encode(o, Batch(torch.zeros(n, 3, *SIZE))), held)
            for n in (2, 4)
        )
        image = (four - two) / 2
        rows.append((name, model.tuner.parameter_count(), image, four - 4 * image))
    full = next(image for name, _, image, _ in rows if name == "full")
    print("| method | trainable | kept an image | of full | kept once |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, count, image, once in rows:
        print(
            f"| `{name}` | {count:,} | {image / 2**20:.1f} MiB | {100 * image / full:.0f} % | {once / 2**20:.0f} MiB |"
        )


if __name__ == "__main__":
    main()
