"""What a training would be, as ``train --dry-run`` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reidtune.report.tables import pairs
from reidtune.units import format_bytes

if TYPE_CHECKING:
    from rich.table import Table


def plan_table(plan: dict[str, Any]) -> Table:
    """What ``train --dry-run`` found."""
    data, memory, steps = plan["data"], plan["memory"], plan["steps"]
    training, validation, parameters = data["training"], data["validation"], plan["parameters"]
    share = parameters["trainable"] / max(1, parameters["backbone"])
    many, one = {"text": ("captions", "a pair"), "multimodal": ("samples", "a sample")}.get(
        data["task"], ("images", "an image")
    )
    number, seen = training.get("captions", training.get("images")), "samples" if many == "samples" else "images"
    rows = [
        ("train on", f"{number:,} {many} of {training['identities']:,} identities"),
        *_datasets(data.get("datasets", ()), many),
        (
            "validate on",
            f"{validation['images']:,} {seen} of {validation['identities']:,} others, {validation['protocol']}"
            if validation["images"]
            else "nothing",
        ),
        ("steps", f"{steps['total']:,} ({steps['per_epoch']:,} an epoch)"),
        ("trainable", f"{parameters['trainable']:,} parameters, {100 * share:.2f} % of the backbone's"),
        ("delta", f"about {format_bytes(plan['bytes'])}"),
        (
            "autograd keeps",
            f"{format_bytes(memory['activation_bytes_per_image'])} {one}, "
            f"{format_bytes(memory['activation_bytes_per_batch'])} {_at_once(memory)}",
        ),
        ("memory", f"{format_bytes(memory['peak_bytes'])} at the most{_each(memory)} (expected)"),
        *_frozen(plan["frozen"], "images"),
        *_frozen(plan["frozen"]["validation"], "validation images"),
    ]
    return pairs(rows)


def _at_once(memory: dict[str, Any]) -> str:
    """What is kept at once, and what is done to keep no more."""
    blocks, part, share = memory["recomputed_blocks"], memory["micro_batch"], memory["batch"]
    again = f", {blocks} block{'s' * (blocks != 1)} computed again" if blocks else ""
    whole = "a batch" if memory["processes"] == 1 else f"for {share} of a batch"
    return f"{f'for {part} at once' if part and part < share else whole} (counted){again}"


def _each(memory: dict[str, Any]) -> str:
    return f" in each of {memory['processes']} processes" if memory["processes"] > 1 else ""


def _frozen(frozen: dict[str, Any], images: str) -> list[tuple[str, str]]:
    """A line for what is computed once of some images, where something is."""
    if not frozen["applies"]:
        return []
    what = "features" if frozen["features"] else f"{frozen['blocks_skipped']} of {frozen['blocks']} blocks"
    share = f"{100 * frozen['forward_flops_share']:.0f} % of the image tower's forward FLOPs"
    return [
        ("computed once", f"{what} of {frozen['images']:,} {images}, {share}, {format_bytes(frozen['bytes'])} kept")
    ]


def _datasets(datasets: Sequence[dict[str, Any]], many: str) -> list[tuple[str, str]]:
    """A line a dataset of a join."""
    rows = []
    for place, part in enumerate(datasets, 1):
        training, validation = part["training"], part["validation"]
        number = training.get("captions", training.get("images"))
        held = f"{validation['images']:,} of {validation['identities']:,} to validate on"
        words = f"{number:,} {many} of {training['identities']:,} identities, {held}"
        rows.append((f"  {place} {part['layout']}", words))
    return rows
