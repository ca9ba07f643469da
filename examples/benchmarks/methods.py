"""Claim: what each method gives on one dataset, same budget, several seeds.

    python examples/benchmarks/methods.py demo
    python examples/benchmarks/methods.py /data/Market-1501 --methods lora full --seeds 1 2 3
    python examples/benchmarks/methods.py demo:multimodal --methods dmpt dmpt:bind=none lora:per_modality=true
    python examples/benchmarks/methods.py /data/Market-1501 --also /data/MSMT17 --also /data/CUHK03-NP

Each method trains with its shipped recipe (the small ones on the tiny backbone), is selected by validation mAP on
identities carved from the training split (or on the layout's own validation split), and is evaluated once on the test
split. Prints a Markdown table of test rank-1 and mAP (mean ± standard deviation over seeds, percent; of text data those
of text to image), trainable parameters, delta size, the bytes that autograd keeps for a sample (counted), and training
seconds, and writes every run's numbers as JSON. With ``--also`` every delta is evaluated on the test split of another
dataset, with a table for each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from reidtune.config import parse_set
from reidtune.data import open_dataset
from reidtune.evaluation import evaluate_dataset
from reidtune.methods.registry import find_method, method_names
from reidtune.training.open import open_run
from reidtune.training.plan import dry_run
from reidtune.units import format_bytes


class Lines:
    """Reports a line an epoch where there is a validation."""

    def start(self, done: int, steps: int) -> None:
        pass

    def step(self, step: int, loss: float) -> None:
        pass

    def epoch(self, row: dict[str, Any]) -> None:
        if "validation mAP" in row:
            print(f"  epoch {row['epoch']}: validation mAP {100 * row['validation mAP']:.1f}", file=sys.stderr)


def one_run(data: str, also: list[str], method: str, seed: int, flags: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train and evaluate; zero-shot is only evaluated."""
    print(f"{method}, seed {seed}", file=sys.stderr)
    if method == "zero-shot":
        weights = {"backbone": flags.get("backbone.name"), "pretrained": flags.get("backbone.pretrained")}
        test, *others = (evaluate_dataset(place, **weights)["metrics"] for place in (data, *also))
        nothing = {"parameters": 0, "bytes": 0, "seconds": 0.0, "kept": 0}
        return {"method": method, "seed": seed, "test": test, "also": others, **nothing}
    name, _, variant = method.partition(":")
    settings = parse_set(f"settings.{item}" for item in variant.split(",") if item)
    chosen = {"method": name, "seed": seed, **flags, **settings}
    run = open_run(data, None, chosen, output=folder / f"{method.replace(':', '-')}-{seed}")
    kept = dry_run(run.prepare())["memory"]["activation_bytes_per_image"]
    trained = run.train(run.prepare(), Lines())
    test = evaluate_dataset(data, run.output)
    return {
        "method": method,
        "seed": seed,
        "test": test["metrics"],
        "also": [evaluate_dataset(place, run.output)["metrics"] for place in also],
        "validation": trained["metrics"],
        "parameters": trained["parameters"]["trainable"],
        "bytes": trained["bytes"],
        "seconds": trained["seconds"],
        "kept": kept,
        "queries": test["queries"],
        "gallery": test["gallery"],
        "protocol": test["protocol"],
    }


def table(rows: list[dict[str, Any]], place: int | None = None) -> str:
    """Markdown: a line a method; of the dataset itself, or of the other one at this ``place``."""
    head = ("method", "rank-1", "mAP", "trainable", "delta", "kept a sample", "seconds")
    lines = [f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1)]
    for method in dict.fromkeys(row["method"] for row in rows):
        runs = [row for row in rows if row["method"] == method]
        metrics = [run["test"] if place is None else run["also"][place] for run in runs]
        cells = [_spread([100 * one[metric] for one in metrics]) for metric in ("rank-1", "mAP")]
        size = format_bytes(runs[0]["bytes"]) if runs[0]["bytes"] else "–"
        seconds = f"{statistics.mean(run['seconds'] for run in runs):.0f}" if runs[0]["bytes"] else "–"
        kept = format_bytes(runs[0]["kept"]) if runs[0]["kept"] else "–"
        lines.append(f"| `{method}` | {' | '.join(cells)} | {runs[0]['parameters']:,} | {size} | {kept} | {seconds} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    mean = statistics.mean(values)
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="demo")
    parser.add_argument("--also", action="append", default=[], help="another dataset to evaluate every delta on")
    parser.add_argument("--methods", nargs="+", help="NAME or NAME:setting=value,…; default: all for the data's task")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--backbone")
    parser.add_argument("--pretrained")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--output", type=Path, help="JSON file with every run")
    arguments = parser.parse_args()
    flags = {
        "backbone.name": arguments.backbone,
        "backbone.pretrained": arguments.pretrained,
        "training.epochs": arguments.epochs,
        "training.batch_size": arguments.batch_size,
    }
    flags = {name: value for name, value in flags.items() if value is not None}
    task = open_dataset(arguments.data).task
    methods = arguments.methods or [name for name in method_names() if task in find_method(name).tasks]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for method in methods:
            for seed in arguments.seeds if method != "zero-shot" else arguments.seeds[:1]:
                rows.append(one_run(arguments.data, arguments.also, method, seed, flags, Path(folder)))
                if arguments.output:
                    content = {"threads": torch.get_num_threads(), "torch": torch.__version__, "runs": rows}
                    arguments.output.write_text(json.dumps(content, indent=1) + "\n")
    print(table(rows))
    for place, other in enumerate(arguments.also):
        print(f"\n{Path(other).name}\n\n{table(rows, place)}")


if __name__ == "__main__":
    main()
