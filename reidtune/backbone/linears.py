"""Where the linear maps of a block lie: under which parameter names, and in which rows of a shared matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

GATE = "gate"


@dataclass(frozen=True)
class Linear:
    """One linear map, ``inputs`` → ``outputs``: rows ``start`` … ``start + outputs`` of the parameter ``weight``, and
    of ``bias`` from ``bias_start`` on; ``bias`` is ``None`` where it has none."""

    weight: str
    bias: str | None
    inputs: int
    outputs: int
    start: int = 0
    bias_start: int = 0

    def within(self, block: str) -> Linear:
        """The same with the names of a block in front."""
        bias = None if self.bias is None else f"{block}.{self.bias}"
        return replace(self, weight=f"{block}.{self.weight}", bias=bias)


def plain(parameters: Mapping[str, Tensor], block: str, name: str) -> Linear:
    """The map that an ``nn.Linear`` called ``name`` holds."""
    outputs, inputs = parameters[f"{block}.{name}.weight"].shape
    return Linear(f"{name}.weight", _present(parameters, block, f"{name}.bias"), inputs, outputs)


def stacked(
    parameters: Mapping[str, Tensor], block: str, weight: str, bias: str, names: tuple[str, ...]
) -> dict[str, Linear]:
    """Maps of equal size that share one matrix, one below the other, and one bias."""
    rows, inputs = parameters[f"{block}.{weight}"].shape
    size = rows // len(names)
    shared = _present(parameters, block, bias)
    return {name: Linear(weight, shared, inputs, size, place * size, place * size) for place, name in enumerate(names)}


def open_clip_linears(parameters: Mapping[str, Tensor], block: str) -> dict[str, Linear]:
    """The maps of open_clip's own blocks."""
    return {
        **stacked(parameters, block, "attn.in_proj_weight", "attn.in_proj_bias", ("q", "k", "v")),
        "out": plain(parameters, block, "attn.out_proj"),
        "fc1": plain(parameters, block, "mlp.c_fc"),
        "fc2": plain(parameters, block, "mlp.c_proj"),
    }


def timm_linears(parameters: Mapping[str, Tensor], block: str) -> dict[str, Linear]:
    """The maps of timm's blocks: q, k and v in one matrix or apart, the MLP plain or gated.

    A gated MLP is ``fc2(act(gate(x)) · fc1(x))``; gate and fc1 are apart, or the two halves of one matrix.
    """
    found: dict[str, Linear] = {}
    if f"{block}.attn.qkv.weight" in parameters:
        found |= stacked(parameters, block, "attn.qkv.weight", "attn.qkv.bias", ("q", "k", "v"))
        for name in ("q", "v"):  # EVA: biases apart from the matrix, none for keys
            if bias := _present(parameters, block, f"attn.{name}_bias"):
                found[name] = replace(found[name], bias=bias, bias_start=0)
    else:
        found |= {name: plain(parameters, block, f"attn.{name}_proj") for name in ("q", "k", "v")}
    found["out"] = plain(parameters, block, "attn.proj")
    apart = {"mlp.fc1_g": ("mlp.fc1_g", "mlp.fc1_x", "mlp.fc2"), "mlp.w0": ("mlp.w0", "mlp.w1", "mlp.w2")}
    for first, names in apart.items():
        if f"{block}.{first}.weight" in parameters:
            return found | {
                name: plain(parameters, block, own) for name, own in zip((GATE, "fc1", "fc2"), names, strict=True)
            }
    found["fc2"] = plain(parameters, block, "mlp.fc2")
    if parameters[f"{block}.mlp.fc1.weight"].shape[0] == 2 * found["fc2"].inputs:
        return found | stacked(parameters, block, "mlp.fc1.weight", "mlp.fc1.bias", (GATE, "fc1"))
    return found | {"fc1": plain(parameters, block, "mlp.fc1")}


def _present(parameters: Mapping[str, Tensor], block: str, name: str) -> str | None:
    return name if f"{block}.{name}" in parameters else None
