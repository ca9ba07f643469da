"""Claim: an indexed folder of 10,000 images answers a search in under half a second beyond importing and loading.

    python examples/benchmarks/search.py [IMAGES]

Writes small JPEGs to a temporary folder, indexes them with the embedded backbone, and prints the median seconds of the
parts of a search by words, once torch is imported and the model loaded. Absolute times of one machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

import reidtune
from reidtune.retrieval.files import list_images
from reidtune.retrieval.search import search

ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=10_000, metavar="IMAGES", help="images of the folder")
    count = parser.parse_args().count
    model = reidtune.load(backbone="tiny")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(count):
            colour = (number % 256, number // 256 % 256, 128)
            Image.new("RGB", (24, 48), colour).save(folder / f"{number:05d}.jpg")
        begun = time.perf_counter()
        search(model, folder, text="a person")
        first = time.perf_counter() - begun
        times: dict[str, list[float]] = {"embedding the words": [], "listing the folder": [], "the whole search": []}
        for number in range(ROUNDS):
            begun = time.perf_counter()
            model.embed_texts([f"person {number}"])
            embedded = time.perf_counter()
            list_images(folder)
            listed = time.perf_counter()
            result = search(model, folder, text=f"a person in a coat, number {number}")
            whole = time.perf_counter()
            assert result.index.embedded == 0
            for part, seconds in zip(times, (embedded - begun, listed - embedded, whole - listed), strict=True):
                times[part].append(seconds)
    print(f"{count:,} images, {torch.get_num_threads()} threads; the first search indexed them in {first:.1f} s\n")
    print("| part | seconds |\n| --- | ---: |")
    for part, seconds in times.items():
        print(f"| {part} | {statistics.median(seconds):.3f} |")


if __name__ == "__main__":
    main()
