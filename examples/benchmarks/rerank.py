"""Claim: re-ranking needs no matrix of all samples by all, and gives the numbers of the dense algorithm sooner.

    python examples/benchmarks/rerank.py [market | msmt17] [--dimensions 512] [--only sparse]

Makes seeded features of the size of a test split, re-ranks them with k1=20, k2=6, lambda=0.3, each way in a process of
its own, and prints seconds and the memory beyond the features. The dense way is the public algorithm as its formulas
say (N × N matrices in float32, the rows one after the other), once with whole rows sorted, as the public code does, and
once with only the first neighbours partitioned off. Times of one machine; the ratio is what counts, and of processor
seconds, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reidtune.retrieval.pairs import make_pairs, rank_scores
from reidtune.retrieval.rank import rank
from reidtune.retrieval.rerank import RerankSettings, reranker_of

SIZES = {"tiny": (100, 600), "market": (3_368, 15_913), "msmt17": (11_659, 82_161)}
K1, K2, WEIGHT = 20, 6, 0.3
INNER = 24  # directions that the features vary in; all others hold little
Floats = NDArray[np.float32]


def features(size: str, dimensions: int) -> tuple[Floats, Floats, dict[str, NDArray[np.int64]]]:
    """Query and gallery of length 1, and their labels: 25 images an identity, six cameras."""
    random = np.random.default_rng(0)
    query, gallery = SIZES[size]
    count = query + gallery
    ids = random.integers(0, max(2, count // 25), count)
    places = random.standard_normal((ids.max() + 1, INNER), dtype=np.float32)
    inner = places[ids] + 0.8 * random.standard_normal((count, INNER), dtype=np.float32)
    found = inner @ random.standard_normal((INNER, dimensions), dtype=np.float32)
    found += 0.5 * random.standard_normal(found.shape, dtype=np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    cameras = random.integers(0, 6, count)
    labels = {
        "query_ids": ids[:query],
        "gallery_ids": ids[query:],
        "query_cameras": cameras[:query],
        "gallery_cameras": cameras[query:],
    }
    return found[:query], found[query:], labels


def dense(query: Floats, gallery: Floats, partition: bool) -> Floats:
    """Re-ranked distances [Q, G] by matrices of all samples by all."""
    stack = np.concatenate([query, gallery])
    count, half = len(stack), round(K1 / 2)
    original = 2 - 2 * stack @ stack.T
    np.maximum(original, 0, out=original)
    original /= original.max(axis=1, keepdims=True)
    if partition:
        first = np.argpartition(original, range(K1 + 1), axis=1)[:, : K1 + 1].astype(np.int32)
    else:
        first = np.argsort(original, axis=1).astype(np.int32)
    codes = np.zeros_like(original)
    for row in range(count):
        mutual = reciprocal(first, row, K1)
        members = [mutual]
        for candidate in mutual:
            theirs = reciprocal(first, candidate, half)
            if len(np.intersect1d(theirs, mutual)) > 2 / 3 * len(theirs):
                members.append(theirs)
        expanded = np.unique(np.concatenate(members))
        weights = np.exp(-original[row, expanded])
        codes[row, expanded] = weights / weights.sum()
    original = original[: len(query)]
    mean = np.zeros_like(codes)
    for row in range(count):
        mean[row] = codes[first[row, :K2]].mean(axis=0)
    del codes, first
    inverted = [np.flatnonzero(mean[:, column]) for column in range(count)]
    jaccard = np.zeros_like(original)
    for row in range(len(query)):
        shared = np.zeros(count, np.float32)
        for column in np.flatnonzero(mean[row]):
            rows = inverted[column]
            shared[rows] += np.minimum(mean[row, column], mean[rows, column])
        jaccard[row] = 1 - shared / (2 - shared)
    return ((1 - WEIGHT) * jaccard + WEIGHT * original)[:, len(query) :]


def reciprocal(first: NDArray[np.int32], row: int, k: int) -> NDArray[np.int32]:
    forward = first[row, : k + 1]
    return forward[np.flatnonzero((first[forward, : k + 1] == row).any(axis=1))]


def memory(key: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (the highest so far) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("This benchmark reads /proc, which only Linux has.")


def measure(way: str, size: str, dimensions: int, target: Path) -> None:
    """Write seconds, bytes and mAP of one way."""
    query, gallery, labels = features(size, dimensions)
    torch.from_numpy(query[:8]) @ torch.from_numpy(gallery[:8]).T  # what the libraries load is not counted
    pairs = make_pairs(query, gallery, **labels)
    plain = rank(query, gallery, **labels).mean_average_precision if way == "sparse" else None
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is that of now
    begun, worked = time.perf_counter(), time.process_time()
    if way == "sparse":
        reranker = reranker_of(pairs, RerankSettings(K1, K2, WEIGHT))
        built = time.process_time() - worked
        for _ in reranker.tiles():
            pass
        seconds, processor = time.perf_counter() - begun, time.process_time() - worked
        peak = memory("VmHWM")
        result = rank_scores(pairs, reranker.tiles())
    else:
        distances = dense(query, gallery, way == "dense, partitioned")
        seconds, processor = time.perf_counter() - begun, time.process_time() - worked
        peak, built = memory("VmHWM"), None
        step = 256
        parts = (slice(start, start + step) for start in range(0, len(query), step))
        result = rank_scores(pairs, ((part, torch.from_numpy(-distances[part])) for part in parts))
    target.write_text(
        json.dumps(
            {
                "seconds": seconds,
                "processor": processor,
                "built": built,
                "bytes": peak - before,
                "mAP": result.mean_average_precision,
                "plain": plain,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("size", nargs="?", default="market", choices=SIZES)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--only", choices=["sparse", "dense", "dense, partitioned"])
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure[0], arguments.size, arguments.dimensions, Path(arguments.measure[1]))
        return
    query, gallery = SIZES[arguments.size]
    ways = [arguments.only] if arguments.only else ["sparse", "dense", "dense, partitioned"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ways:
            target = Path(folder) / "result.json"
            command = [sys.executable, __file__, arguments.size, "--dimensions", str(arguments.dimensions)]
            subprocess.run([*command, "--measure", way, str(target)], check=True)
            found[way] = json.loads(target.read_text())
    print(f"{query:,} queries, {gallery:,} gallery items, {arguments.dimensions} dimensions, ", end="")
    print(f"{torch.get_num_threads()} thread(s), k1 {K1}, k2 {K2}, lambda {WEIGHT}\n")
    print("| way | seconds | processor seconds | ratio | MB beyond the features | mAP |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for way, one in found.items():
        ratio = one["processor"] / found[ways[0]]["processor"]
        print(f"| {way} | {one['seconds']:.1f} | {one['processor']:.1f} | {ratio:.1f} ", end="")
        print(f"| {one['bytes'] / 1e6:,.0f} | {100 * one['mAP']:.4f} |")
    if "sparse" in found:
        one = found["sparse"]
        print(
            f"\nBefore re-ranking: mAP {100 * one['plain']:.4f}. Of the sparse way, {one['built']:.1f} processor ",
            end="",
        )
        print("seconds are for neighbours and codes, the rest for the scores of all queries.")


if __name__ == "__main__":
    main()
