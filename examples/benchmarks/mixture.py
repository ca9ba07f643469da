"""Claim: the mixture of adapters written by hand is faster and keeps less than the forms that autograd differentiates.

    python examples/benchmarks/mixture.py

Forward and backward of one DM-Adapter layer of the image tower of ViT-B/16 (193 rows of 768, six experts of 96, two
active) in four exact forms: by hand, expert by expert (used on the CPU) and all experts at once (used elsewhere, since
nothing in it depends on data); left to autograd, all experts at once and a loop over the experts on the rows that chose
them. Prints the largest difference of outputs and gradients to the last, the median time as a ratio to the first, and
the bytes kept for the backward pass beside the rows that enter, all in one run.
"""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from reidtune.training.memory import saved_bytes
from reidtune.tuning import experts
from reidtune.tuning.mixture import _Layer

WIDTH, HIDDEN, EXPERTS, ACTIVE, ROWS = 768, 96, 6, 2, 193
ROUNDS = 15


def by_hand(form: type, layer: _Layer, tokens: Tensor) -> Tensor:
    experts._form = lambda tokens: form
    return layer(tokens, ACTIVE)[0]


def route(layer: _Layer, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    normed = layer.norm(tokens)
    kept, chosen = F.linear(normed, *layer.gates()).topk(ACTIVE, dim=-1)
    return normed, kept.softmax(dim=-1), chosen


def at_once(layer: _Layer, tokens: Tensor) -> Tensor:
    normed, kept, chosen = route(layer, tokens)
    weights = torch.zeros(len(tokens), EXPERTS).scatter(-1, chosen, kept)
    hidden = F.relu(layer.down(normed)).view(len(tokens), EXPERTS, -1) * weights[..., None]
    return hidden.flatten(-2) @ layer.up + weights @ layer.up_bias


def looped(layer: _Layer, tokens: Tensor) -> Tensor:
    normed, kept, chosen = route(layer, tokens)
    outcome = torch.zeros_like(tokens)
    for expert in range(EXPERTS):
        part = slice(expert * HIDDEN, (expert + 1) * HIDDEN)
        rows, slot = (chosen == expert).nonzero(as_tuple=True)
        hidden = F.relu(F.linear(normed[rows], layer.down.weight[part], layer.down.bias[part]))
        answer = hidden @ layer.up[part] + layer.up_bias[expert]
        outcome = outcome.index_add(0, rows, kept[rows, slot, None] * answer)
    return outcome


FORMS = {
    "by hand, expert by expert": lambda layer, tokens: by_hand(experts._Grouped, layer, tokens),
    "by hand, all at once": lambda layer, tokens: by_hand(experts._Wide, layer, tokens),
    "autograd, all at once": at_once,
    "autograd, a loop": looped,
}


def main() -> None:
    torch.manual_seed(0)
    layer = _Layer(WIDTH, HIDDEN, EXPERTS)
    torch.nn.init.normal_(layer.up, std=0.02)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| images | form | largest difference | time | kept |\n| ---: | --- | ---: | ---: | ---: |")
    for images in (8, 32):
        tokens = torch.randn(images * ROWS, WIDTH, requires_grad=True)
        held = [tokens, *layer.parameters()]
        times: dict[str, list[float]] = {name: [] for name in FORMS}
        found: dict[str, list[Tensor]] = {}
        for _ in range(ROUNDS):  # interleaved, so that a busy moment hits all forms alike
            for name, form in FORMS.items():
                start = time.perf_counter()
                outcome = form(layer, tokens)
                gradients = torch.autograd.grad(outcome.square().mean(), held)
                times[name].append(time.perf_counter() - start)
                found[name] = [outcome.detach(), *gradients]
        base = statistics.median(times["by hand, expert by expert"])
        for name, form in FORMS.items():
            pairs = zip(found[name], found["autograd, a loop"], strict=True)
            difference = max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)
            kept = saved_bytes(lambda form=form, tokens=tokens: form(layer, tokens), held) / 2**20
            ratio = statistics.median(times[name]) / base
            print(f"| {images} | {name} | {difference:.1e} | {ratio:.2f} | {kept:.1f} MiB |")


if __name__ == "__main__":
    main()
