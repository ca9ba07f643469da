import gc
import platform
import subprocess
import sys
import weakref

import pytest
import torch

from reidtune.methods.registry import find_method
from reidtune.training.memory import saved_bytes


def test_counts_distinct_storages_and_leaves_parameters_out():
    weight = torch.randn(4, 4, requires_grad=True)
    x = torch.randn(8, 4)
    assert saved_bytes(lambda: x @ weight, [weight]) == x.numel() * 4
    assert saved_bytes(lambda: (x @ weight) + (x @ weight), [weight]) == x.numel() * 4  # x counts once
    y = torch.randn(8, 4, requires_grad=True)
    assert saved_bytes(lambda: y.exp().exp(), []) == 2 * y.numel() * 4  # both results are kept


def test_nothing_is_kept_without_a_trainable_tensor():
    x, weight = torch.randn(8, 4), torch.randn(4, 4)
    assert saved_bytes(lambda: (x @ weight).relu()) == 0


def test_methods_keep_what_their_depth_demands(small_backbone):
    images = torch.randn(2, 3, 32, 16)
    kept = {}
    for name in ("zero-shot", "vpt", "lora", "full"):
        page = find_method(name)
        tuner = page(page.Settings()).tuner(small_backbone)
        held = [*tuner.parameters(), *small_backbone.model.parameters()]
        kept[name] = saved_bytes(lambda tuner=tuner: small_backbone.image(images, tuner), held)
    assert kept["zero-shot"] == 0
    assert 0 < kept["lora"] < kept["full"]
    assert kept["vpt"] > 0


_HOLES = """
import torch
from reidtune.training.memory import give_back_at_once, resident_bytes
chosen = {} and give_back_at_once()
torch.ones(7_000_000)  # of 28 MB: from here on the C library keeps all that is smaller
before = resident_bytes()
rows = [torch.ones(500_000) for _ in range(100)]  # of 2 MB
rows = rows[::10]
print(int(chosen), resident_bytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the GNU C library")
def test_what_is_freed_goes_back_to_the_system():
    left = {}
    for wanted in (False, True):
        done = subprocess.run([sys.executable, "-c", _HOLES.format(wanted)], capture_output=True, text=True, check=True)
        chosen, left[wanted] = map(int, done.stdout.split())
        assert chosen == wanted
    assert left[True] < 30e6 and left[True] < left[False] / 3


def test_nothing_counted_stays_alive():
    weight = torch.randn(4, 4, requires_grad=True)
    storages = []

    def forward():
        outcome = (torch.randn(8, 4) @ weight).exp()
        storages.append(weakref.ref(outcome.untyped_storage()))
        return outcome.exp()

    saved_bytes(forward, [weight])
    gc.collect()
    assert storages[0]() is None
