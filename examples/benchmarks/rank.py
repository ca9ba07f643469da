"""Claim: a whole exact evaluation takes less than twice its bare product, and no more memory for a larger gallery.

    python examples/benchmarks/rank.py [--queries 3368] [--gallery 15913] [--rounds 5] [--growth 1 10 100]

CMC, mAP and mINP of the size of Market-1501 (512 values a feature, 750 identities, 6 cameras) against the product
``query @ gallery.T`` alone, and against other evaluators where they are installed. Features are random: a centre for
each identity plus noise of ``--noise`` times its size, so that every identity is found to some degree (5 is hard, 2
easy). Rounds are interleaved; seconds are the least, ratios medians of the ratios of a round.

Others rank a matrix of distances that is there already: their time leaves the product out, ours has it. Those that are
slow get some of the queries, and their ratio is to as many queries of ours. Packages are used as they are installed;
of some only the module of the evaluator is imported, since the whole package needs an older Python. fast-reid's
compiled evaluator has to be built where the package lies: ``python setup.py build_ext --inplace`` in
``fastreid/evaluation/rank_cylib``. The growth table maps the gallery from a file of 16-bit numbers; its
identities grow as it does.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import sys
import tempfile
import threading
import time
import types
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import reidtune

WIDTH, IDENTITIES, CAMERAS = 512, 750, 6


class World:
    """Features and labels of ``queries`` and a gallery."""

    def __init__(self, queries: int, gallery: int, noise: float, identities: int = IDENTITIES) -> None:
        self.random, self.noise = np.random.default_rng(0), noise
        self.centres = self.random.standard_normal((identities, WIDTH), dtype=np.float32)
        self.ids = [self.random.integers(0, identities, count) for count in (queries, gallery)]
        self.cameras = [self.random.integers(0, CAMERAS, count) for count in (queries, gallery)]

    def features(self, ids: np.ndarray) -> np.ndarray:
        noise = self.random.standard_normal((len(ids), WIDTH), dtype=np.float32)
        features = self.centres[ids] + self.noise * noise
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    def labels(self) -> dict[str, np.ndarray]:
        sides = zip(("query", "gallery"), self.ids, self.cameras, strict=True)
        return {f"{side}_{name}": x for side, *both in sides for name, x in zip(("ids", "cameras"), both, strict=True)}


class Peak:
    """Megabytes of anonymous memory (mapped files left out) at most beyond those before; NaN where it is not known."""

    def __enter__(self) -> Peak:
        self.before = self.most = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def megabytes(self) -> float:
        return (self.most - self.before) / 1024

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.most = max(self.most, self._now())

    @staticmethod
    def _now() -> float:
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return next((float(line.split()[1]) for line in lines if line.startswith("RssAnon")), float("nan"))


Ranker = Callable[[np.ndarray, np.ndarray, list[np.ndarray], list[np.ndarray]], float]  # of distances and labels: mAP


def by_argsort(distances: np.ndarray, _: Any, ids: list[np.ndarray], cameras: list[np.ndarray]) -> float:
    """What most research code does: sort every row whole."""
    order = np.argsort(distances, axis=1)
    found = []
    matches = (ids[1][order] == ids[0][:, None]).astype(np.int32)
    for row, places in enumerate(order):
        kept = ~((ids[1][places] == ids[0][row]) & (cameras[1][places] == cameras[0][row]))
        hits = matches[row][kept]
        if hits.any():
            precision = hits.cumsum() / np.arange(1.0, len(hits) + 1)
            found.append((precision * hits).sum() / hits.sum())
    return float(np.mean(found))


def module_alone(name: str) -> types.ModuleType:
    """A module of a package without what the package's own ``__init__`` imports."""
    if name in sys.modules:
        return sys.modules[name]
    parents = name.split(".")[:-1]
    spec = importlib.util.find_spec(parents[0])
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("not installed")
    folder = Path(next(iter(spec.submodule_search_locations)))
    for depth in range(1, len(parents) + 1):
        stub = types.ModuleType(".".join(parents[:depth]))
        stub.__path__ = [str(folder.joinpath(*parents[1:depth]))]
        sys.modules[stub.__name__] = stub
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the compiled evaluator is missing
        return importlib.import_module(name)


def from_toolkit(name: str, compiled: bool) -> Ranker:
    evaluator = module_alone(name)
    if compiled and not evaluator.IS_CYTHON_AVAI:
        source = list(Path(evaluator.__file__ or "").parent.glob("rank_cylib/*.pyx"))
        raise ImportError("not built" if source else "its package on PyPI is without the source of it")

    def ranker(distances: np.ndarray, _: Any, ids: list[np.ndarray], cameras: list[np.ndarray]) -> float:
        sides = (ids[0], ids[1], cameras[0], cameras[1])
        # torchreid gives mAP, fast-reid the average precision of every query.
        return float(np.mean(evaluator.evaluate_rank(distances, *sides, use_cython=compiled)[1]))

    return ranker


def from_torchmetrics() -> Ranker:
    from torchmetrics.retrieval import RetrievalMAP

    def ranker(distances: np.ndarray, _: Any, ids: list[np.ndarray], cameras: list[np.ndarray]) -> float:
        metric = RetrievalMAP(empty_target_action="skip")
        for row, values in enumerate(distances):
            same = ids[1] == ids[0][row]
            kept = ~(same & (cameras[1] == cameras[0][row]))
            metric.update(
                torch.from_numpy(1 - values[kept]), torch.from_numpy(same[kept]), torch.full((int(kept.sum()),), row)
            )
        return float(metric.compute())

    return ranker


def from_metric_learning() -> Ranker:
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(include=("mean_average_precision",), k=None)  # knows no cameras

    def ranker(_: Any, features: Any, ids: list[np.ndarray], cameras: list[np.ndarray]) -> float:
        query, gallery = (torch.from_numpy(side) for side in features)
        labels = (torch.from_numpy(side) for side in ids)
        found = calculator.get_accuracy(query, next(labels), gallery, next(labels), ref_includes_query=False)
        return float(found["mean_average_precision"])

    return ranker


PEERS: dict[str, tuple[Callable[[], Ranker], int]] = {  # and of how many queries
    "NumPy argsort": (lambda: by_argsort, 10**9),
    "fast-reid, Cython": (lambda: from_toolkit("fastreid.evaluation.rank", True), 10**9),
    "fast-reid, Python": (lambda: from_toolkit("fastreid.evaluation.rank", False), 200),
    "torchreid, Cython": (lambda: from_toolkit("torchreid.reid.metrics.rank", True), 10**9),
    "torchreid, Python": (lambda: from_toolkit("torchreid.reid.metrics.rank", False), 50),
    "torchmetrics RetrievalMAP": (from_torchmetrics, 200),
    "pytorch-metric-learning (with the product)": (from_metric_learning, 50),
}


def timed(work: Callable[[], Any]) -> tuple[float, Any, float]:
    with Peak() as peak:
        begun = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - begun
    return seconds, result, peak.megabytes


def compare(queries: int, gallery: int, noise: float, rounds: int) -> None:
    world = World(queries, gallery, noise)
    query, items = (world.features(ids) for ids in world.ids)
    labels = world.labels()
    tensors = torch.from_numpy(query), torch.from_numpy(items)
    bare, ours = [], []
    for _ in range(rounds):
        bare.append(timed(lambda: (tensors[0] @ tensors[1].T).shape))
        ours.append(timed(lambda: reidtune.rank(query, items, **labels)))
    least = min(seconds for seconds, *_ in bare), min(seconds for seconds, *_ in ours)
    ratio = statistics.median(own / product for (own, *_), (product, *_) in zip(ours, bare, strict=True))
    result = ours[0][1]
    print("| evaluator | queries | seconds | to the bare product | to reidtune | MB | mAP |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    print(f"| bare product | {queries:,} | {least[0]:.2f} | 1 | – | {bare[0][2]:.0f} | – |")
    whole = f"{least[1]:.2f} | {ratio:.2f} | 1 | {max(x[2] for x in ours):.0f}"
    print(
        f"| **reidtune, with the product** | {queries:,} | {whole} | {result.mean_average_precision:.6f} |", flush=True
    )
    for name, (make, most) in PEERS.items():
        count = min(most, queries)
        try:
            ranker = make()
        except (ImportError, AttributeError) as error:
            print(f"| {name} | not installed: {str(error).splitlines()[0]} | | | | | |", flush=True)
            continue
        distances = 1 - query[:count] @ items.T
        some = [world.ids[0][:count], world.ids[1]], [world.cameras[0][:count], world.cameras[1]]
        times = [timed(partial(ranker, distances, (query[:count], items), *some)) for _ in range(rounds)]
        seconds = min(one[0] for one in times)
        per_query = [seconds / count / (part / queries) for part in least]
        print(
            f"| {name} | {count:,} | {seconds:.2f} | {per_query[0]:.1f} | {per_query[1]:.1f} | {times[0][2]:.0f} | "
            f"{times[0][1]:.6f} |",
            flush=True,
        )
    print(
        f"\nThe result: {', '.join(f'{name} {100 * value:.1f}' for name, value in result.metrics().items())}; "
        f"{len(result.tied_queries)} queries with ties, {result.near_ties} with scores closer than 1e-6."
    )


def grow(queries: int, gallery: int, noise: float, factors: list[int]) -> None:
    print(
        f"\n| gallery, {queries:,} queries | bare product of tiles, s | reidtune, s | ratio | MB beyond the features |"
    )
    print("| ---: | ---: | ---: | ---: | ---: |")
    for factor in factors:
        world = World(queries, factor * gallery, noise, factor * IDENTITIES)
        query = world.features(world.ids[0])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "gallery.npy")
            write(path, world)
            product = min(timed(partial(stream, query, path))[0] for _ in range(3))
            runs = [timed(partial(reidtune.rank, query, path, **world.labels())) for _ in range(3)]
        own, most = min(run[0] for run in runs), max(run[2] for run in runs)
        print(f"| {factor * gallery:,} | {product:.2f} | {own:.2f} | {own / product:.2f} | {most:.0f} |", flush=True)


def write(path: Path, world: World) -> None:
    ids = world.ids[1]
    values = np.lib.format.open_memmap(path, "w+", np.float16, (len(ids), WIDTH))
    for start in range(0, len(ids), 2**14):
        values[start : start + 2**14] = world.features(ids[start : start + 2**14])
    values.flush()


def stream(query: np.ndarray, path: Path) -> None:
    """The product alone, of a gallery that is read from its file."""
    items = np.load(path, mmap_mode="r")
    left, out = torch.from_numpy(query), torch.empty(len(query), 2**13)
    for start in range(0, len(items), 2**13):
        part = torch.from_numpy(items[start : start + 2**13].astype(np.float32))
        torch.mm(left, part.T, out=out[:, : len(part)])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15_913)
    parser.add_argument("--noise", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", type=int, nargs="*", default=[1, 10])
    parser.add_argument("--growth-queries", type=int, default=1024)
    options = parser.parse_args()
    reidtune.rank(torch.eye(2), torch.eye(2), query_ids=[1, 2], gallery_ids=[1, 2], protocol="all")  # loads everything
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, NumPy {np.__version__}\n")
    compare(options.queries, options.gallery, options.noise, options.rounds)
    if options.growth:
        grow(options.growth_queries, options.gallery, options.noise, options.growth)


if __name__ == "__main__":
    main()
