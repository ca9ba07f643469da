"""Claim: a training step of `dm-adapter` and `cskt` gives at least 1.3 times the samples per second and keeps at most
0.65 of the bytes of a plain reference, and takes at most 1.15 times what the bare frozen towers take.

    python examples/benchmarks/step.py --batch 8 --rounds 7       # ViT-B/16, 384×128, fp32
    python examples/benchmarks/step.py --batch 128 --precision bf16 --device cuda
    python examples/benchmarks/step.py --check                    # the reference against the public code, nothing timed

A step is forward through both towers, losses, backward and Adam. The reference is reference.py, which first has to
match the golden numbers of the public implementations; then it and reidtune start from the same tuner on the same
frozen weights (seeded random ones), and loss and gradients are compared. The floor is forward and backward down to the
rows that enter the towers, without a tuner: of open_clip's own modules, and of reidtune's towers with the rows that the
method needs. Rounds take turns, ratios are those of medians of one run, bytes are counted with saved-tensor hooks.
Captions are those of the demo world, of 10 to 40 words.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from reference import EXPERTS, METHODS, Plain, check
from torch import Tensor, nn

from reidtune.backbone.load import Backbone, load_backbone
from reidtune.backbone.walk import Walk
from reidtune.config import OptimiserSection, resolve_config
from reidtune.data import open_dataset
from reidtune.data.batch import Batch
from reidtune.methods.registry import find_method
from reidtune.model import Model
from reidtune.training.memory import saved_bytes
from reidtune.training.optimiser import build_optimiser
from reidtune.training.precision import autocast, hold_in_bf16
from reidtune.training.step import forward
from reidtune.tuning.tuner import Tuner

TOWERS = {"image": "visual", "text": "text"}
FLOORS = ("floor: open_clip's modules", "floor: reidtune's towers")


class Form:
    """A way to take a step: ``forward`` gives the loss, ``optimiser`` is missing from a floor."""

    def __init__(self, forward: Callable[[], Tensor], optimiser: torch.optim.Optimizer | None = None) -> None:
        self.forward, self.optimiser = forward, optimiser
        self.times: list[tuple[float, ...]] = []

    def step(self, clock: Callable[[], float]) -> None:
        marks = [clock()]
        loss = self.forward()
        marks.append(clock())
        if self.optimiser is not None:
            self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        marks.append(clock())
        if self.optimiser is not None:
            self.optimiser.step()
        marks.append(clock())
        self.times.append(tuple(after - before for before, after in pairwise(marks)))

    def median(self) -> float:
        return statistics.median(sum(phases) for phases in self.times)

    def phases(self) -> list[float]:
        return [statistics.median(phase) for phase in zip(*self.times, strict=True)]


class Bare(Tuner):
    """No components; the rows that enter a tower want a gradient, so that backward goes all the way."""

    def __init__(self, all_rows: bool) -> None:
        super().__init__()
        self.all_rows = all_rows

    def reads_all_tokens(self, walk: Walk) -> bool:
        return self.all_rows

    def observes(self, walk: Walk) -> bool:
        return self.all_rows  # and after attention no row but the pooled one is needed, as with `dm-adapter`

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        return tokens.detach().requires_grad_() if place == "before_positions" else tokens


def wall_clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def as_ours(method: str, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the reference under the names of reidtune's tuner, in its shapes."""
    found: dict[str, Tensor] = {}
    layers = 1 + max(int(name.split(".")[2]) for name in values)
    if method == "cskt":
        for tower, theirs in TOWERS.items():
            found[f"prompts.{tower}"] = torch.stack([values[f"prompt.{theirs}.{layer}"] for layer in range(layers)])
        for name, value in values.items():
            kind, tower, rest = name.split(".", 2)
            tower = tower.replace("visual", "image")
            if kind == "proj":
                found[f"prompts.to_{tower.partition('_to_')[2]}.{rest}"] = value
            elif kind == "adapter":
                found[f"{tower}_adapter.{rest.replace('.ln.', '.norm.')}"] = value
        return found
    for tower, theirs in TOWERS.items():
        for layer in range(layers):
            own, other = f"{tower}_mixture.{layer}", f"adapter.{theirs}.{layer}"
            pairs = {"norm.weight": "ln.weight", "norm.bias": "ln.bias", "domain": "task_param", "alpha": "alpha"}
            pairs |= {"gate.weight": "gate_in.weight", "domain_gate.weight": "gate_task.weight"}
            found |= {f"{own}.{ours}": values[f"{other}.{name}"] for ours, name in pairs.items()}

            def experts(part: str, other: str = other) -> list[Tensor]:
                return [values[f"{other}.experts.{expert}.{part}"] for expert in range(EXPERTS)]

            found[f"{own}.down.weight"] = torch.cat(experts("down.weight"))
            found[f"{own}.down.bias"] = torch.cat(experts("down.bias"))
            found[f"{own}.up"] = torch.cat([weight.T for weight in experts("up.weight")])
            found[f"{own}.up_bias"] = torch.stack(experts("up.bias"))
    return found


def start(module: nn.Module) -> None:
    """Seeded initial values of a reference's tuner, none of them neutral: all parts have gradients at once."""
    torch.manual_seed(0)
    for name, value in module.named_parameters():
        if name.startswith("clip."):
            continue
        if name.endswith(("task_param", "ln.weight")):
            value.data = torch.randn_like(value) if name.endswith("task_param") else 1 + 0.1 * torch.randn_like(value)
        elif not name.endswith("alpha"):
            value.data = 0.02 * torch.randn_like(value)


def pairs_of(backbone: Backbone, count: int, seed: int = 0) -> Batch:
    """Random images and captions of the demo world, half as many people as pairs."""
    generator = torch.Generator().manual_seed(seed)
    captions = [caption for record in open_dataset("demo:text").train for caption in record.captions]
    captions = [caption for caption in captions if 10 <= len(caption.split()) <= 40]
    chosen = torch.randperm(len(captions), generator=generator)[:count].tolist()
    texts = backbone.tokenizer([captions[place] for place in chosen * (1 + count // len(chosen))][:count])
    size = (backbone.preprocess.height, backbone.preprocess.width)
    people = torch.arange(count) // 2
    return Batch(torch.randn(count, 3, *size, generator=generator), labels=people, texts=texts).to(backbone.device)


def adam(modules: nn.Module, section: OptimiserSection) -> torch.optim.Optimizer:
    return build_optimiser(modules, nn.Module(), section, lambda name: not name.startswith("clip."))


def forms(
    method: str, backbone: Backbone, batch: Batch, precision: str
) -> tuple[dict[str, Form], Plain, Model, list[Tensor]]:
    """The reference, reidtune and the floors on the same frozen weights, batch and initial tuner; the reference's
    module, reidtune's model, and all weights that are held anyway."""
    config = resolve_config(method, {"backbone.pretrained": "none"})
    plain = METHODS[method](copy.deepcopy(backbone.model))
    start(plain)
    plain = plain.to(backbone.device).train()
    page = find_method(method)
    page = page(page.Settings.model_validate(config.settings))
    model = Model(backbone, page.tuner(backbone))
    model.tuner.load_tensors(as_ours(method, {name: value.data for name, value in plain.trained().items()}))
    model.tuner.train()
    bare = copy.deepcopy(backbone.model)
    for module in (bare.visual.ln_pre, bare.token_embedding):
        module.register_forward_hook(lambda module, inputs, rows: rows.requires_grad_())
    if precision == "bf16":  # as training does; the copies above are as open_clip holds them
        hold_in_bf16(model)
    images, texts, people = batch.images, batch.texts, batch.labels
    assert images is not None and texts is not None and people is not None
    objective = page.objective(model.tuner, backbone, int(people.max()) + 1, config.loss, "text")

    def encode(part: Batch, place: int) -> dict[str, Tensor]:
        with autocast(model, precision):
            return page.encode(model, part)

    def ours() -> Tensor:
        return forward(encode, objective, batch).loss

    def reference() -> Tensor:
        with autocast(model, precision):
            loss: Tensor = plain(images, texts, people)
        return loss

    def open_clip_floor() -> Tensor:
        with autocast(model, precision):
            return bare.encode_image(images).float().sum() + bare.encode_text(texts).float().sum()

    empty = Bare(all_rows=method == "dm-adapter")

    def own_floor() -> Tensor:
        with autocast(model, precision):
            return backbone.image(images, empty).float().sum() + backbone.text(texts, empty).float().sum()

    found = {
        "reference": Form(reference, adam(plain, config.optimiser)),
        "reidtune": Form(ours, adam(model.tuner, config.optimiser)),
        FLOORS[0]: Form(open_clip_floor),
        FLOORS[1]: Form(own_floor),
    }
    modules = (plain, bare, backbone.model, model.tuner)
    return found, plain, model, [tensor for module in modules for tensor in module.state_dict().values()]


def compare(method: str, found: dict[str, Form], plain: Plain, model: Model) -> str:
    """How far the loss and the gradients of reidtune are from those of the reference."""
    losses = []
    for form in (found["reference"], found["reidtune"]):
        loss = form.forward()
        loss.backward()
        losses.append(float(loss.detach()))
    expected = as_ours(method, {name: value.grad for name, value in plain.trained().items() if value.grad is not None})
    given = {name: value.grad for name, value in model.tuner.named_parameters() if value.grad is not None}
    assert set(given) == set(expected), set(given) ^ set(expected)
    shares = {name: float((given[name] - value).abs().max() / value.abs().max()) for name, value in expected.items()}
    apart = math.sqrt(sum(float((given[name] - value).square().sum()) for name, value in expected.items()))
    norm = math.sqrt(sum(float(value.square().sum()) for value in expected.values()))
    worst = max(shares, key=shares.__getitem__)
    return (
        f"loss differs by {abs(losses[0] - losses[1]) / abs(losses[0]):.1e}, gradients by {apart / norm:.1e} of their "
        f"norm, at most by {shares[worst]:.1e} of the largest entry of a tensor ({worst})"
    )


def load(chosen: argparse.Namespace) -> Backbone:
    size = (chosen.height, chosen.width)
    return load_backbone(
        chosen.backbone, "none", image_size=size, activation="quick_gelu", resize="bilinear", device=chosen.device
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--check", action="store_true", help="hold the reference to the golden numbers, and stop")
    parser.add_argument("--backbone", default="ViT-B-16")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--processor-time", action="store_true", help="not wall time: for one thread of a busy machine")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--width", type=int, default=128)
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    for method in METHODS:
        shares = check(method)
        print(f"{method}, reference against the golden tower: {max(shares.values()):.3f} of what is tolerated")
        assert max(shares.values()) <= 1, shares
    if chosen.check:
        return
    backbone = load(chosen)
    batch = pairs_of(backbone, chosen.batch)
    assert batch.texts is not None
    longest = int(batch.texts.argmax(dim=1).max()) + 1
    print(
        f"\n{chosen.backbone}, {chosen.height}×{chosen.width}, batch {chosen.batch} (longest text {longest} tokens), "
        f"{chosen.precision}, {chosen.device}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"medians of {chosen.rounds} rounds{', processor time' if chosen.processor_time else ''}"
    )
    for method in chosen.methods:
        backbone = load(chosen)  # anew: bf16 changes how its weights are held
        found, plain, model, held = forms(method, backbone, batch, chosen.precision)
        print(f"\n`{method}`: {compare(method, found, plain, model)}\n")
        kept = {name: saved_bytes(form.forward, held) for name, form in found.items()}
        for _ in range(1 + chosen.rounds):  # the first one warms up
            for form in found.values():
                form.step(time.process_time if chosen.processor_time else wall_clock)
        for form in found.values():
            del form.times[0]
        report(found, kept, chosen.batch)


def report(found: dict[str, Form], kept: dict[str, int], count: int) -> None:
    """Samples per second and bytes as ratios to the reference, time as a ratio to both floors."""
    print("| | seconds | forward + backward + Adam | × samples/s | kept a sample | × bytes | × floors' time |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, form in found.items():
        seconds, phases = form.median(), " + ".join(f"{phase:.2f}" for phase in form.phases())
        speed, share = found["reference"].median() / seconds, kept[name] / kept["reference"]
        floors = ", ".join(f"{seconds / found[floor].median():.2f}" for floor in FLOORS)
        size = f"{kept[name] / count / 2**20:.1f} MiB"
        print(f"| {name} | {seconds:.2f} | {phases} | {speed:.2f} | {size} | {share:.2f} | {floors} |")


if __name__ == "__main__":
    main()
