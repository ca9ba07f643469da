"""Claim: a LoRA step of the image tower is faster and keeps less than that of huggingface/peft on the same open_clip
tower, where both compute the same function.

    pip install peft
    python examples/benchmarks/peft_lora.py --batch 8 --rounds 7

peft takes open_clip's ``nn.MultiheadAttention`` only whole: one difference of the fused q, k, v matrix (one A for all
three) and one of the output matrix, merged into the weights before every forward pass and out again after it. LoRA on q
and v alone, reidtune's default, it cannot express. Compared are therefore

- `attention`: peft's way, and reidtune's ``targets = q, k, v, out`` from the same values (A three times);
- `MLP`: ``c_fc`` and ``c_proj`` of peft, ``fc1`` and ``fc2`` of reidtune: the same tensors on both sides;
- `q, v`: reidtune's default alone, as a ratio to peft's attention.

Rank 8, α 8, no dropout, seeded random weights, the same gradient into the features, Adam. Features and gradients are
compared first. peft 0.21.2 adds the difference of attention's output matrix twice (it merges it into the weight, and
the linear map that it wrapped there merges it again): where it does, reidtune's is doubled, and it is said. Rounds take
turns; ratios are those of medians of one run; bytes are counted with saved-tensor hooks (weights that peft merges for a
step count, the frozen ones do not).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reidtune.backbone.load import load_backbone
from reidtune.methods.lora import Lora, LoraSettings
from reidtune.model import Model
from reidtune.training.memory import saved_bytes

RANK = 8
BLOCK = "transformer.resblocks"


class Form:
    """Features of the batch by one way, and its trainable tensors."""

    def __init__(self, features: Callable[[], Tensor], module: nn.Module, upstream: Tensor) -> None:
        self.features, self.upstream = features, upstream
        self.trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.Adam(self.trained, lr=1e-6)  # small: values stay comparable
        self.times: list[float] = []

    def step(self, clock: Callable[[], float]) -> None:
        begun = clock()
        self.optimiser.zero_grad(set_to_none=True)
        (self.features() * self.upstream).sum().backward()
        self.optimiser.step()
        self.times.append(clock() - begun)

    def median(self) -> float:
        return statistics.median(self.times)


def with_peft(visual: nn.Module, targets: list[str]) -> nn.Module:
    """A copy of the tower with peft's LoRA on modules of these names; B is not zero, so that all is compared."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets)
    tower: nn.Module = inject_adapter_in_model(config, copy.deepcopy(visual))
    torch.manual_seed(1)
    for name, value in tower.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.02)
    return tower


def with_reidtune(backbone: Any, targets: tuple[str, ...]) -> Model:
    method = Lora(LoraSettings(rank=RANK, alpha=RANK, targets=targets, towers="image"))
    model = Model(backbone, method.tuner(backbone))
    model.tuner.train()
    return model


def of_attention(values: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """peft's tensors of whole attention under reidtune's names: A three times, B in three parts."""
    found = {}
    for layer in range(layers):
        place = f"{BLOCK}.{layer}.attn"
        for number, name in enumerate("qkv"):
            found[f"lora.{layer}.{name}.A"] = values[f"{place}.lora_A.default.weight"]
            found[f"lora.{layer}.{name}.B"] = values[f"{place}.lora_B.default.weight"].chunk(3)[number]
        for part in "AB":
            found[f"lora.{layer}.out.{part}"] = values[f"{place}.base_layer.out_proj.lora_{part}.default.weight"]
    return found


def of_mlp(values: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    return {
        f"lora.{layer}.{ours}.{part}": values[f"{BLOCK}.{layer}.mlp.{theirs}.lora_{part}.default.weight"]
        for layer in range(layers)
        for ours, theirs in (("fc1", "c_fc"), ("fc2", "c_proj"))
        for part in "AB"
    }


def trained(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def compare(peft: Form, ours: Form, tower: nn.Module, model: Model, renamed: Callable[..., dict[str, Tensor]]) -> str:
    """Load peft's values, then say the largest differences of features and gradients, as a share of the largest entry.
    Where reidtune has one tensor three times, its three gradients add up to peft's one."""
    layers, given, times = model.backbone.image.layers, peft.features(), 1
    values = renamed({name: value.data for name, value in trained(tower).items()}, layers)
    model.tuner.load_tensors(values)
    if _share(ours.features().detach(), given.detach()) > 1e-3:
        times = 2
        model.tuner.load_tensors({key: times * one if key.endswith("out.B") else one for key, one in values.items()})
    apart = _share(ours.features().detach(), given.detach())
    for form in (peft, ours):
        (form.features() * form.upstream).sum().backward()
    expected = renamed({name: value.grad for name, value in trained(tower).items()}, layers)
    found = {name: value.grad for name, value in model.tuner.named_parameters()}
    for layer in range(layers):
        if f"lora.{layer}.q.A" in found:
            shared = [f"lora.{layer}.{name}.A" for name in "qkv"]
            found |= dict.fromkeys(shared, torch.stack([found[name] for name in shared]).sum(dim=0))
            found[f"lora.{layer}.out.A"] /= times
    shares = {name: _share(found[name], value) for name, value in expected.items()}
    worst = max(shares, key=shares.__getitem__)
    note = "; peft adds the difference of the output matrix twice" if times == 2 else ""
    return f"features differ by {apart:.1e}, gradients by at most {shares[worst]:.1e} ({worst}){note}"


def _share(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--processor-time", action="store_true", help="not wall time: for one thread of a busy machine")
    chosen = parser.parse_args()
    try:
        import peft
    except ImportError:
        sys.exit("This comparison needs peft: pip install peft")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    clock = time.process_time if chosen.processor_time else time.perf_counter
    size = (chosen.height, chosen.width)
    backbone = load_backbone("ViT-B-16", "none", image_size=size, activation="quick_gelu")
    images = torch.randn(chosen.batch, 3, *size, generator=torch.Generator().manual_seed(0))
    upstream = torch.randn(chosen.batch, 512, generator=torch.Generator().manual_seed(1))
    print(
        f"ViT-B-16, {chosen.height}×{chosen.width}, batch {chosen.batch}, fp32, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, peft {peft.__version__}, medians of {chosen.rounds} rounds"
        f"{', processor time' if chosen.processor_time else ''}\n"
    )
    found: dict[str, Form] = {}
    held: list[Tensor] = list(backbone.model.state_dict().values())
    sides = {
        "attention": (["attn"], ("q", "k", "v", "out"), of_attention),
        "MLP": (["c_fc", "c_proj"], ("fc1", "fc2"), of_mlp),
    }
    for name, (theirs, ours, renamed) in sides.items():
        tower = with_peft(backbone.model.visual, theirs).train()
        model = with_reidtune(backbone, ours)
        found[f"{name}, peft"] = Form(lambda tower=tower: tower(images), tower, upstream)
        found[f"{name}, reidtune"] = Form(lambda model=model: model.encode_images(images), model.tuner, upstream)
        print(
            f"- {name}: {compare(*(found[f'{name}, {side}'] for side in ('peft', 'reidtune')), tower, model, renamed)}"
        )
        held += [*tower.state_dict().values(), *model.tuner.parameters()]
    default = with_reidtune(backbone, ("q", "v"))
    found["q, v, reidtune"] = Form(lambda: default.encode_images(images), default.tuner, upstream)
    held += list(default.tuner.parameters())

    kept = {name: saved_bytes(form.features, held) for name, form in found.items()}
    for _ in range(1 + chosen.rounds):  # the first one warms up
        for form in found.values():
            form.step(clock)
    for form in found.values():
        del form.times[0]
    print("\n| | trainable | seconds a step | of peft's | kept a sample | of peft's |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, form in found.items():
        base = "MLP, peft" if name.startswith("MLP") else "attention, peft"
        count = sum(parameter.numel() for parameter in form.trained)
        share, size_share = form.median() / found[base].median(), kept[name] / kept[base]
        size = f"{kept[name] / chosen.batch / 2**20:.1f} MiB"
        print(f"| {name} | {count:,} | {form.median():.2f} | {share:.2f} | {size} | {size_share:.2f} |")


if __name__ == "__main__":
    main()
