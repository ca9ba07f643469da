"""What an analysis found, for people: below the table of metrics. Fractions come in, percent goes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reidtune.report.crossing_tables import dataset_names
from reidtune.report.tables import METRICS, Fitting, and_list, names_of, visible
from reidtune.units import percent

if TYPE_CHECKING:
    from rich.console import RenderableType


_APPLIED = {"camera_means": "camera means", "expansion": "expansion", "reranking": "re-ranking"}


def analysis_report(results: Sequence[dict[str, Any]], datasets: int = 1) -> RenderableType:
    """For each ``evaluate --json`` object, delta by delta on as many ``datasets``: metrics without what was applied,
    intervals, and decisions."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    names = names_of(results)
    if datasets > 1:
        known = dataset_names(results[:datasets])
        names = [f"{name} on {known[place % datasets]}" for place, name in enumerate(names)]
    for result, name in zip(results, names, strict=True):
        lines = _lines(result, "text to image" if "image_to_text" in result else "")
        if "image_to_text" in result:
            lines += _lines(result["image_to_text"], "image to text")
        decided = result.get("decisions")
        if not (lines or decided):
            continue
        if len(results) > 1:
            parts += ["", Text(visible(f"{name}:"), overflow="fold")]
        parts += ["", *(Text(line, overflow="fold") for line in lines)] if lines else []
        if decided:
            parts += ["", _table(decided), "", *(Text(line, overflow="fold") for line in _sentences(decided))]
    return Group(*parts)


def _lines(result: dict[str, Any], direction: str) -> list[str]:
    of = f"{direction}, " if direction else ""
    lines = []
    if "without" in result:
        metrics = result["without"]["metrics"]
        numbers = ", ".join(f"{name} {100 * metrics[name]:.1f}" for name in METRICS)
        names = [name for key, name in _APPLIED.items() if key in result["applied"]]
        lines.append(f"{of}without {and_list(names)}: {numbers}.")
    if "intervals" in result:
        found = result["intervals"]
        bounds = {name: pair for name, pair in found["bounds"].items() if pair and name in METRICS}
        numbers = ", ".join(f"{name} {100 * low:.1f}–{100 * high:.1f}" for name, (low, high) in bounds.items())
        lines.append(
            f"{of}95 % intervals over {_count(found['identities'], 'query identity', 'query identities')} "
            f"({found['draws']:,} draws): {numbers or 'none, one identity is too few'}."
        )
    return [line[0].upper() + line[1:] if not line[0].isdigit() else line for line in lines]


def _table(found: dict[str, Any]) -> RenderableType:
    """Operating points: false positives, accepted genuine pairs, threshold."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    headings = ("impostor pairs accepted", "genuine pairs accepted", "threshold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    lines = []
    for point in found["roc"]:
        accepted = "–" if point["tpr"] is None else f"{percent(point['tpr'])} %"
        row = (f"{_rate(point['fpr'])} %", accepted, _score(point["threshold"]))
        table.add_row(*row)
        lines.append(Text(", ".join(f"{name} {value}" for name, value in zip(headings, row, strict=True))))
    return Fitting(table, sum(map(len, headings)) + 2 * (len(headings) - 1), Group(*lines))


def _sentences(found: dict[str, Any]) -> list[str]:
    pairs, one = found["pairs"], found["suggested"]
    few = any(point["tpr"] is None for point in [*found["roc"], one])
    lines = [
        f"{_count(pairs['genuine'], 'genuine pair', 'genuine pairs')}, "
        f"{_count(pairs['impostor'], 'impostor pair', 'impostor pairs')}, by {found['scores']}: "
        f"equal error rate {100 * found['eer']:.1f}, area under the ROC {100 * found['auc']:.2f}."
        + (" –: too few impostor pairs to measure it." if few else "")
    ]
    if one["threshold"] is None:
        lines.append(f"No threshold for {_rate(one['fpr'])} % of impostor pairs: there are too few of them.")
    else:
        interval = ""
        if one["interval"]:
            low, high = one["interval"]
            interval = (
                f" (95 % interval {_score(low)}–{_score(high)} over "
                f"{_count(one['identities'], 'query identity', 'query identities')}, {one['draws']:,} draws)"
            )
        lines.append(
            f"Suggested threshold: {_score(one['threshold'])}{interval}. From there on a pair is taken for one "
            f"identity: {percent(one['tpr'])} % of genuine and at most {_rate(one['fpr'])} % of impostor pairs."
        )
    opened = found["open_set"]
    if opened is None:
        return [*lines, "Open set: none, no query can be made unknown."]
    held = opened["held_out_identities"]
    how = f" ({_count(held, 'identity', 'identities')} taken out of the gallery, seed {opened['seed']})" if held else ""
    rates = "; ".join(
        f"{percent(rate['dir'])} at {_rate(rate['far'])} % false alarms"
        + ("" if rate["threshold"] is None else f" (threshold {_score(rate['threshold'])})")
        for rate in opened["rates"]
    )
    known, unknown = (_count(opened[key], f"{key} query", f"{key} queries") for key in ("known", "unknown"))
    return [
        *lines,
        f"Open set, {known}, {unknown}{how}: rank-1 {percent(opened['rank-1'])}; found and accepted {rates}.",
    ]


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _rate(fraction: float) -> str:
    """``0.01`` of 1e-4: percent without trailing zeros."""
    return f"{100 * fraction:.10g}"


def _score(score: float | None) -> str:
    return "–" if score is None else f"{score:.4f}"
