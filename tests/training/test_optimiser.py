import math

import pytest
import torch
from torch import nn

from reidtune.config import OptimiserSection
from reidtune.training.optimiser import build_optimiser, learning_rate_factor, set_learning_rate


def groups_of(optimiser, module, prefix=""):
    names = {id(parameter): prefix + name for name, parameter in module.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimiser.param_groups
        for p in group["params"]
        if id(p) in names
    }


def test_bias_rules_and_head_factor():
    tuner, heads = nn.Linear(3, 2), nn.Linear(2, 5)
    config = OptimiserSection(lr=0.1, weight_decay=0.3, bias_lr_factor=2.0, bias_weight_decay=0.05, head_lr_factor=10.0)
    optimiser = build_optimiser(tuner, heads, config, lambda name: True)
    assert isinstance(optimiser, torch.optim.AdamW)
    assert groups_of(optimiser, tuner) == {"weight": (0.1, 0.3), "bias": (0.2, 0.05)}
    assert groups_of(optimiser, heads) == {"weight": (1.0, 0.3), "bias": (1.0, 0.05)}
    set_learning_rate(optimiser, 0.01)
    assert groups_of(optimiser, tuner) == {"weight": (0.01, 0.3), "bias": (0.02, 0.05)}


def test_only_what_a_stage_trains_is_in_the_optimiser():
    tuner, heads = nn.Linear(3, 2), nn.BatchNorm1d(2)
    heads.bias.requires_grad_(False)
    optimiser = build_optimiser(tuner, heads, OptimiserSection(name="adam"), lambda name: name == "bias")
    assert type(optimiser) is torch.optim.Adam
    assert set(groups_of(optimiser, tuner)) == {"bias"}
    assert set(groups_of(optimiser, heads)) == {"weight"}


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (5, 0.55), (10, 1.0), (60, 0.5 * (1 + math.cos(math.pi * 0.5))), (110, 0.0), (500, 0.0)],
)
def test_warm_up_then_cosine(step, expected):
    assert learning_rate_factor(step, 110, 10, 0.1, 0.0) == pytest.approx(expected, abs=1e-12)


def test_no_warm_up_and_a_floor():
    assert learning_rate_factor(0, 10, 0, 0.1, 0.2) == 1.0
    assert learning_rate_factor(10, 10, 0, 0.1, 0.2) == pytest.approx(0.2)
