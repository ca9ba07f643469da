"""Tables for people: metrics, plans, results. Fractions come in, percent goes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

METRICS = ("rank-1", "rank-5", "rank-10", "mAP", "mINP")


def metrics_table(results: Sequence[dict[str, Any]]) -> RenderableType:
    """A row for each ``evaluate --json`` object, in percent, and below it how the numbers were obtained."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("delta", "backbone"):
        table.add_column(heading, overflow="fold", min_width=5)
    for heading in METRICS:
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        delta = result["delta"]
        name = "none (zero-shot)" if delta is None else f"{delta['method']} ({_short(delta['path'])})"
        backbone = result["backbone"]
        numbers = [f"{100 * result['metrics'][metric]:.1f}" for metric in METRICS]
        table.add_row(escape(name), escape(f"{backbone['name']} {backbone['pretrained']}"), *numbers)
    sentences = list(dict.fromkeys(obtained(result) for result in results))
    return Group(table, *(escape(sentence) for sentence in sentences))


def obtained(result: dict[str, Any]) -> str:
    """How a result was obtained: protocol, counts, skipped queries, tie rule."""
    queries, gallery = result["queries"], result["gallery"]
    words = [
        f"{result['layout']}, {result['protocol']}: {queries['total']:,} queries, {gallery['total']:,} gallery images"
    ]
    if gallery["ignored"]:
        words.append(f"{gallery['ignored']:,} junk images left out")
    if queries["skipped"]:
        names = result.get("skipped_examples", [])
        more = ", …" if len(names) < queries["skipped"] else ""
        words.append(
            f"{queries['skipped']:,} {'query' if queries['skipped'] == 1 else 'queries'} skipped for want of a positive"
            + (f" ({', '.join(names)}{more})" if names else "")
        )
    return f"{'; '.join(words)}. Metrics in percent. Ties are {result['tie_rule']}."


def plan_table(plan: dict[str, Any]) -> Table:
    """What ``train --dry-run`` found."""
    data, memory, steps = plan["data"], plan["memory"], plan["steps"]
    training, validation, parameters = data["training"], data["validation"], plan["parameters"]
    share = parameters["trainable"] / max(1, parameters["backbone"])
    rows = [
        ("train on", f"{training['images']:,} images of {training['identities']:,} identities"),
        (
            "validate on",
            f"{validation['images']:,} images of {validation['identities']:,} others, {validation['protocol']}"
            if validation["images"]
            else "nothing",
        ),
        ("steps", f"{steps['total']:,} ({steps['per_epoch']:,} an epoch)"),
        ("trainable", f"{parameters['trainable']:,} parameters, {100 * share:.2f} % of the backbone's"),
        ("delta", f"about {format_bytes(plan['bytes'])}"),
        (
            "autograd keeps",
            f"{format_bytes(memory['activation_bytes_per_image'])} an image, "
            f"{format_bytes(memory['activation_bytes_per_batch'])} a batch (counted)",
        ),
    ]
    return _pairs(rows)


def training_summary(result: dict[str, Any]) -> Table:
    """What a training left."""
    metrics, start = result["metrics"], result.get("start", {})
    rows = [
        ("delta", f"{result['delta']}  ({format_bytes(result['bytes'])})"),
        ("trained", f"{result['parameters']['trainable']:,} parameters in {result['seconds']:,.0f} s"),
    ]
    if metrics:
        before = f", mAP {100 * start['validation mAP']:.1f} before" if "validation mAP" in start else ""
        rows.append(
            (
                "validation",
                f"rank-1 {100 * metrics['rank-1']:.1f}, mAP {100 * metrics['mAP']:.1f} "
                f"(epoch {metrics['epoch']}, {metrics['protocol']}{before})",
            )
        )
    return _pairs(rows)


def format_bytes(count: float) -> str:
    """``1.2 MB``: powers of ten, one decimal below 100."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB" if count < 99.95 else f"{count:,.0f} GB"


def _pairs(rows: Sequence[tuple[str, str]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(f"[bold]{name}[/]", escape(value))
    return table


def _short(path: str) -> str:
    """The run folder's or the file's own name."""
    file = Path(path)
    return (
        file.parent.name if file.name in ("delta.safetensors", "best.safetensors") and file.parent.name else file.name
    )
