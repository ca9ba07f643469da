"""Claim: a training is made to fit into the memory that is given to it, and takes what was predicted.

    python examples/benchmarks/fit.py                     # dm-adapter, ViT-B/16 at 384×128, batch 128, 6GB
    python examples/benchmarks/fit.py --memory 4GB --batch 64 --method cskt

One optimiser step of ``reidtune train demo:text`` with seeded random weights in a process of its own, with nothing to
validate; printed are what was chosen, the peak that was predicted, and the largest resident set of that process as the
system counted it (Linux), which also holds Python, torch and what is read while starting.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", default="dm-adapter")
    parser.add_argument("--backbone", default="ViT-B-16")
    parser.add_argument("--size", default="384x128")
    parser.add_argument("--batch", default="128")
    parser.add_argument("--memory", default="6GB")
    chosen = parser.parse_args()
    command = [sys.executable, "-m", "reidtune", "train", "demo:text", "--method", chosen.method]
    command += ["--backbone", chosen.backbone, "--pretrained", "none", "--activation", "quick_gelu"]
    command += ["--image-size", chosen.size, "--batch-size", chosen.batch, "--steps", "1", "--workers", "0"]
    command += ["--set", "data.validation_fraction=0", "--memory", chosen.memory]
    plan = json.loads(subprocess.run([*command, "--dry-run", "--json"], check=True, stdout=subprocess.PIPE).stdout)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        subprocess.run(
            [*command, "--output", str(Path(folder) / "run"), "--quiet"], check=True, stdout=subprocess.DEVNULL
        )
        seconds = time.perf_counter() - begun
    measured = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    memory = plan["memory"]
    print("| batch | limit | blocks computed again | samples at once | predicted | largest resident set | seconds |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    print(
        f"| {chosen.batch} | {chosen.memory} | {memory['recomputed_blocks']} | {memory['micro_batch'] or 'all'} "
        f"| {memory['peak_bytes'] / 1e9:.2f} GB | {measured * 1024 / 1e9:.2f} GB | {seconds:.0f} |"
    )
    if measured == before:
        print("The dry run took at least as much: the resident set of the training itself was not larger.")


if __name__ == "__main__":
    main()
