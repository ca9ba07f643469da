"""Claim: one product over all experts is the faster exact form of a mixture of adapters without indexing by data.

    python examples/benchmarks/mixture.py

Forward and backward of one DM-Adapter layer of the image tower of ViT-B/16 (193 rows of 768, six experts of 96, two
active) in three exact forms: all experts at once with the weights of unchosen ones at zero (what is used), a loop over
the experts on the rows that chose them (indexing by data, which makes a GPU wait), and rows sorted by expert. Prints
the largest difference to the first form and the median time as a ratio to it, all in one run.
"""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F

from reidtune.tuning.mixture import _Layer

WIDTH, HIDDEN, EXPERTS, ACTIVE, ROWS = 768, 96, 6, 2, 193
ROUNDS = 15


def parts(layer: _Layer, expert: int) -> tuple[torch.Tensor, ...]:
    rows = slice(expert * HIDDEN, (expert + 1) * HIDDEN)
    return layer.down.weight[rows], layer.down.bias[rows], layer.up[rows], layer.up_bias[expert]


def route(layer: _Layer, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    kept, chosen = layer.logits(tokens).topk(ACTIVE, dim=-1)
    return chosen, kept.softmax(dim=-1)


def wide(layer: _Layer, tokens: torch.Tensor) -> torch.Tensor:
    chosen, kept = route(layer, tokens)
    weights = torch.zeros(*tokens.shape[:-1], EXPERTS).scatter(-1, chosen, kept)
    return layer.mix(tokens, weights)


def looped(layer: _Layer, tokens: torch.Tensor) -> torch.Tensor:
    chosen, kept = route(layer, tokens)
    outcome = torch.zeros_like(tokens)
    for expert in range(EXPERTS):
        rows, slot = (chosen == expert).nonzero(as_tuple=True)
        down, down_bias, up, up_bias = parts(layer, expert)
        answer = F.relu(F.linear(tokens[rows], down, down_bias)) @ up + up_bias
        outcome = outcome.index_add(0, rows, kept[rows, slot, None] * answer)
    return outcome


def grouped(layer: _Layer, tokens: torch.Tensor) -> torch.Tensor:
    chosen, kept = route(layer, tokens)
    order = chosen.flatten().argsort(stable=True)
    rows = order // ACTIVE
    counts = chosen.flatten().bincount(minlength=EXPERTS).tolist()
    answers = []
    for expert, group in enumerate(tokens[rows].split(counts)):
        down, down_bias, up, up_bias = parts(layer, expert)
        answers.append(F.relu(F.linear(group, down, down_bias)) @ up + up_bias)
    weighted = kept.flatten()[order, None] * torch.cat(answers)
    return torch.zeros_like(tokens).index_add(0, rows, weighted)


def main() -> None:
    torch.manual_seed(0)
    layer = _Layer(WIDTH, HIDDEN, EXPERTS)
    torch.nn.init.normal_(layer.up, std=0.02)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| images | form | largest difference | time |\n| ---: | --- | ---: | ---: |")
    for images in (8, 32):
        tokens = torch.randn(images * ROWS, WIDTH)
        times: dict[str, list[float]] = {"wide": [], "looped": [], "grouped": []}
        reference = wide(layer, tokens).detach()
        for _ in range(ROUNDS):  # interleaved, so that a busy moment hits all forms alike
            for form in (wide, looped, grouped):
                start = time.perf_counter()
                outcome = form(layer, tokens)
                outcome.square().mean().backward()
                times[form.__name__].append(time.perf_counter() - start)
        base = statistics.median(times["wide"])
        for form in (wide, looped, grouped):
            difference = float((form(layer, tokens).detach() - reference).abs().max())
            ratio = statistics.median(times[form.__name__]) / base
            print(f"| {images} | {form.__name__} | {difference:.1e} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
