"""Claim: where the first blocks stay as they are and images are not augmented, rows that are computed once take their
share of the forward pass out of every step, and decoding with it; bytes that autograd keeps stay as they are.

    python examples/benchmarks/frozen.py --batch 8 --rounds 5                              # ViT-B/16, 256×128, fp32
    python examples/benchmarks/frozen.py --batch 64 --precision bf16 --device cuda

A step is reading (JPEG files decoded and squashed, or rows from the memory-mapped file), forward, the identity and
triplet losses, backward and Adam, on images of the demo world and seeded random weights. Rounds take turns; times are
medians of one run, of processor time with one thread (which a busy machine lengthens less than the clock), of the clock
on a GPU. FLOPs are counted for one image, bytes with saved-tensor hooks. Each pair starts from one tuner; how far the
loss of the first step differs is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reidtune.backbone.load import load_backbone
from reidtune.config import RunConfig, resolve_config, validate_settings
from reidtune.data import label_map, open_dataset
from reidtune.data.batch import Batch
from reidtune.data.record import cameras, identities
from reidtune.demo.cache import demo_folder
from reidtune.methods.base import Facts, Method
from reidtune.methods.registry import find_method
from reidtune.model import Model
from reidtune.training.batches import BatchSource
from reidtune.training.find_frozen import find_frozen
from reidtune.training.frozen import Frozen, FrozenRows
from reidtune.training.memory import saved_bytes
from reidtune.training.optimiser import build_optimiser
from reidtune.training.precision import autocast
from reidtune.training.schedule import sampler_for
from reidtune.units import precise_bytes

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "adapter, all 12 blocks": ("adapter", {}),
    "adapter, last 4 blocks": ("adapter", {"settings.blocks": 4}),
    "linear": ("linear", {}),
}
PLAIN = {"augmentation.flip": 0.0, "augmentation.pad": 0, "augmentation.erase": 0.0, "settings.dropout": 0.0}


class Form:
    """One method on images, or on ``rows`` that stand for them."""

    def __init__(self, method: Method, records: list[Any], config: RunConfig, model: Model) -> None:
        self.method, self.model, self.config = method, model, config
        labels = label_map(records)
        torch.manual_seed(1)
        self.objective = self.method.objective(model.tuner, model.backbone, len(labels), config.loss).to(
            model.backbone.device
        )
        self.optimiser = build_optimiser(model.tuner, self.objective, config.optimiser, lambda name: True)
        self.source = BatchSource(records, labels, False, model.backbone, config)
        self.chosen = sampler_for(records, config).batches(0)[:1]
        self.rows: FrozenRows | None = None
        self.times: list[float] = []
        self.first_loss = float("nan")

    def batch(self) -> Batch:
        return next(self.source.batches(self.chosen, 0, frozen=self.rows)).to(self.model.backbone.device)

    def loss(self, batch: Batch) -> torch.Tensor:
        with autocast(self.model, self.config.training.precision):
            outputs = self.method.encode(self.model, batch)
        assert batch.labels is not None
        found: torch.Tensor = self.objective(outputs, batch.labels)[0]
        return found

    def step(self, clock: Callable[[], float]) -> None:
        begun = clock()
        loss = self.loss(self.batch())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.times.append(clock() - begun)
        if len(self.times) == 1:
            self.first_loss = loss.item()

    def kept(self) -> int:
        """Bytes that autograd keeps of an image: the difference of a whole and half a batch."""
        held = [*self.model.tuner.parameters(), *self.model.backbone.model.parameters(), *self.objective.parameters()]
        whole = self.batch()
        count = len(self.chosen[0])
        half = whole.split(count // 2)[0]
        counted = [saved_bytes(lambda part=part: self.loss(part), held) for part in (whole, half)]
        return (counted[0] - counted[1]) // (count - count // 2)


def _facts(records: list[Any]) -> Facts:
    return Facts("image", "person", len(identities(records)), len(cameras(records)))


def make(flags: dict[str, Any], records: list[Any], arguments: argparse.Namespace) -> tuple[Form, Frozen]:
    own = {name: value for name, value in PLAIN.items() if name != "settings.dropout" or "adapter" in flags["method"]}
    config = resolve_config(None, {**own, **flags})
    page = find_method(config.method)
    method = page(page.complete(validate_settings(page.Settings, config.settings), _facts(records)))
    model = Model(arguments.backbone, method.tuner(arguments.backbone, 1))
    return Form(method, records, config, model), find_frozen(config, method, model, records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64, help="images whose rows are kept")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.backbone = load_backbone("ViT-B-16", "none", image_size=(256, 128), device=torch.device(arguments.device))
    records = sorted(open_dataset(demo_folder(kind="image")).train, key=lambda record: record.identity)
    records = [record for record in records if record.identity > 0][: arguments.images]

    def clock() -> float:
        if arguments.device.startswith("cuda"):
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        os.environ["REIDTUNE_CACHE"] = folder
        forms: dict[str, Form] = {}
        plans: dict[str, Frozen] = {}
        for name, (method, flags) in FORMS.items():
            options = {
                "method": method,
                "training.batch_size": arguments.batch,
                "training.precision": arguments.precision,
                "training.workers": 0,
                "training.epochs": 60,
                **flags,
            }
            forms[name], plan = make(options, records, arguments)
            if plan.reason is None:
                begun = clock()
                cached, plans[f"{name}, computed once"] = make(options, records, arguments)
                cached.rows = plan.open(cached.method.stages())
                seconds = (clock() - begun) / len(plan.images)
                forms[f"{name}, computed once"] = cached
                print(f"{name}: {1000 * seconds:.0f} ms an image to compute once; {plan.sentence()}", flush=True)
        for form in forms.values():
            form.step(clock)
            form.model.tuner.train()
        for _ in range(arguments.rounds):
            for form in forms.values():
                form.step(clock)
        print(f"\nbatch {arguments.batch}, {arguments.precision}, {arguments.device}, {arguments.threads} thread(s)\n")
        print("| method | step, ms | to all blocks | kept by autograd an image | kept on disk an image | first loss |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        first = statistics.median(next(iter(forms.values())).times[1:])
        for name, form in forms.items():
            median = statistics.median(form.times[1:])
            disk = precise_bytes(plans[name].bytes / len(plans[name].images)) if name in plans else "–"
            print(
                f"| {name} | {1000 * median:.0f} | {median / first:.3f} | {precise_bytes(form.kept())} | {disk} | "
                f"{form.first_loss:.6f} |"
            )
        total = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
        print(f"\n{precise_bytes(total)} on disk for {len(records)} images.")


if __name__ == "__main__":
    main()
