"""What a dry run says."""

from __future__ import annotations

import pytest

from reidtune.report.plan_table import plan_table
from tests.report.evaluated import render, words

MEMORY = {
    "activation_bytes_per_image": 43_000_000,
    "activation_bytes_per_batch": 2_752_000_000,
    "peak_bytes": 5_100_000_000,
    "recomputed_blocks": 0,
    "micro_batch": None,
    "processes": 1,
    "batch": 64,
}


def plan_of(task, training, validation):
    """What ``train --dry-run --json`` prints of these data."""
    return {
        "data": {"task": task, "training": training, "validation": validation},
        "memory": MEMORY,
        "frozen": {"applies": False, "validation": {"applies": False}},
        "steps": {"total": 10300, "per_epoch": 171},
        "parameters": {"trainable": 294_912, "backbone": 86_192_640},
        "bytes": 1_181_000,
    }


def test_plan_says_what_would_be_trained():
    validation = {"images": 1936, "identities": 111, "protocol": "cross-camera"}
    plan = plan_of("image", {"images": 11000, "identities": 640}, validation)
    text = words(render(plan_table(plan)))
    for part in ("11,000 images of 640 identities", "1,936 images of 111 other", "1.2 MB"):
        assert part in text
    for part in ("10,300 (171 an epoch)", "294,912 parameters, 0.34 %", "43.0 MB an image, 2.8 GB a batch (counted)"):
        assert part in text
    assert "memory 5.1 GB at the most (expected)" in text and "computed once" not in text
    plan["memory"] = {**MEMORY, "recomputed_blocks": 4, "micro_batch": 16}
    once = {"applies": True, "features": False, "blocks_skipped": 8, "blocks": 12, "forward_flops_share": 0.66}
    plan["frozen"] = {**once, "images": 11000, "bytes": 2_200_000_000}
    plan["frozen"]["validation"] = {**once, "images": 1936, "bytes": 380_000_000}
    text = words(render(plan_table(plan)))
    assert "2.8 GB for 16 at once (counted), 4 blocks computed again" in text
    assert "computed once 8 of 12 blocks of 11,000 images, 66 % of the image tower's forward FLOPs, 2.2 GB kept" in text
    assert "8 of 12 blocks of 1,936 validation images, 66 % of the image tower's forward FLOPs, 380 MB kept" in text
    plan["data"]["validation"] = {"images": 0, "identities": 0, "protocol": "cross-camera"}
    assert "validate on nothing" in words(render(plan_table(plan)))
    plan["memory"] = {**MEMORY, "recomputed_blocks": 1, "micro_batch": 100, "processes": 2, "batch": 32}
    text = words(render(plan_table(plan)))
    assert "2.8 GB for 32 of a batch (counted), 1 block computed again" in text  # 100 are more than there are
    assert "memory 5.1 GB at the most in each of 2 processes (expected)" in text


@pytest.mark.parametrize(
    ("task", "training", "said"),
    [
        ("text", {"captions": 416, "identities": 52}, ("416 captions of 52", "32 images of 8 others", "B a pair, ")),
        ("multimodal", {"images": 432, "identities": 48}, ("432 samples of 48", "32 samples of 8", "B a sample, ")),
    ],
)
def test_plan_of_other_data(task, training, said):
    validation = {"images": 32, "identities": 8, "protocol": "cross-camera"}
    plan = plan_of(task, training, validation)
    text = words(render(plan_table(plan)))
    assert all(part in text for part in said)
