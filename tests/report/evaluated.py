"""Hand-made evaluations, and a table of them as lines of text."""

from __future__ import annotations

import io

from rich.console import Console


def result(**changes):
    """What ``evaluate --json`` prints."""
    return {
        "schema": 1,
        "task": "image",
        "layout": "market1501",
        "protocol": "cross-camera",
        "tie_rule": "stable: equal scores keep gallery order",
        "metrics": {"rank-1": 0.95432, "rank-5": 1.0, "rank-10": 1.0, "rank-20": 1.0, "mAP": 0.8877, "mINP": 0.0499},
        "queries": {"total": 3368, "skipped": 0},
        "gallery": {"total": 15913, "ignored": 0},
        "backbone": {"name": "ViT-B-16", "pretrained": "openai", "fingerprint": "f"},
        "delta": {"path": "runs/harbour/delta.safetensors", "method": "lora", "digest": "d"},
        **changes,
    }


def text_result(**changes):
    back = {name: value / 2 for name, value in result()["metrics"].items()}
    return result(
        task="text",
        layout="cuhk-pedes",
        protocol="cross-modality",
        queries={"total": 6156, "skipped": 0},
        gallery={"total": 3074, "ignored": 0},
        image_to_text={
            "metrics": back,
            "queries": {"total": 3074, "skipped": 0},
            "gallery": {"total": 6156, "ignored": 0},
        },
        **changes,
    )


def render(table, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    lines = out.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return lines


def words(lines):
    return " ".join(" ".join(lines).split())
