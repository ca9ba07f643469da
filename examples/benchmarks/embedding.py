"""Claim: embedding gives at least 1.8 times the texts per second of plain ``encode_text``, and images take about 7 %
fewer FLOPs than ``encode_image`` and never longer.

    python examples/benchmarks/embedding.py --rounds 7
    python examples/benchmarks/embedding.py --batches 8 32 --threads 2

ViT-B/16 at 256×128 with seeded random weights, fp32, no tuner, no gradients; captions of the demo world, of 10 to 40
words, in the order in which they come. ``encode_text`` runs all 77 columns. Features are compared first. FLOPs are
those that torch's counter sees, with the fused operation off by which ``nn.MultiheadAttention`` runs without gradients:
the counter does not see into it. The times are with it. Rounds take turns; ratios are those of medians of one run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from reidtune.backbone.load import load_backbone
from reidtune.data import open_dataset
from reidtune.model import Model


def flops(run: Callable[[], Tensor]) -> int:
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops()


def captions(count: int) -> list[str]:
    """The first ones of the demo world with 10 to 40 words, over again where there are too few."""
    found = [caption for record in open_dataset("demo:text").train for caption in record.captions]
    found = [caption for caption in found if 10 <= len(caption.split()) <= 40]
    return (found * (1 + count // len(found)))[:count]


def measure(
    plain: Callable[[], Tensor], ours: Callable[[], Tensor], rounds: int, clock: Callable[[], float]
) -> tuple[float, float, float]:
    """Seconds of both, and the largest difference as a share of the largest entry."""
    expected, found = plain(), ours()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for run, taken in zip((plain, ours), times, strict=True):
            begun = clock()
            run()
            taken.append(clock() - begun)
    apart = float((found - expected).abs().max() / expected.abs().max())
    return statistics.median(times[0]), statistics.median(times[1]), apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 16, 32])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--texts", type=int, default=96, help="embedded in each round, in batches")
    parser.add_argument("--processor-time", action="store_true", help="not wall time: for one thread of a busy machine")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    clock = time.process_time if chosen.processor_time else time.perf_counter
    size = (chosen.height, chosen.width)
    model = Model(load_backbone("ViT-B-16", "none", image_size=size, activation="quick_gelu"))
    clip = model.backbone.model
    texts = model.backbone.tokenizer(captions(chosen.texts))
    longest = int(texts.argmax(dim=1).max()) + 1
    print(
        f"ViT-B-16, {chosen.height}×{chosen.width}, fp32, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, medians of {chosen.rounds} rounds{', processor time' if chosen.processor_time else ''}; "
        f"{chosen.texts} captions of {float(texts.argmax(dim=1).float().mean()) + 1:.1f} tokens on average, "
        f"{longest} at most\n"
    )
    print("| | batch | largest difference | FLOPs to plain | a second, plain | a second, reidtune | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")

    def row(name: str, batch: int, count: int, plain: Callable[[], Tensor], ours: Callable[[], Tensor]) -> None:
        share = flops(ours) / flops(plain)
        slow, fast, apart = measure(plain, ours, chosen.rounds, clock)
        print(
            f"| {name} | {batch} | {apart:.1e} | {share:.3f} | {count / slow:.1f} | {count / fast:.1f} "
            f"| {slow / fast:.2f} |"
        )

    with torch.inference_mode():
        for batch in chosen.batches:
            parts = texts.split(batch)
            row(
                "texts",
                batch,
                chosen.texts,
                lambda parts=parts: torch.cat([clip.encode_text(part) for part in parts]),
                lambda parts=parts: torch.cat([model.encode_texts(part) for part in parts]),
            )
        for batch in chosen.batches:
            images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
            row(
                "images",
                batch,
                batch,
                lambda images=images: clip.encode_image(images),
                lambda images=images: model.encode_images(images),
            )


if __name__ == "__main__":
    main()
