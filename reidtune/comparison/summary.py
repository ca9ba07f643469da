"""From the runs of a comparison to its rows: means, deviations, gains, and who is on which Pareto front."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from reidtune.report.comparison_cells import COSTS

METRICS = ("mAP", "rank-1")


def summarise(
    rows: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A summary of each row, those with results by falling mAP, then the others in the given order.

    ``rows`` have ``name`` and ``counted``; ``runs`` are those of ``compare.json``, by ``row`` and ``seed``, where
    finished ones have ``tests``; ``baseline`` is the backbone alone, with ``tests``, too.
    """
    summaries = [_summary(row, [run for run in runs if run["row"] == row["name"]], baseline) for row in rows]
    done = [one for one in summaries if one["mAP"] is not None]
    for cost in COSTS:
        # The backbone alone costs nothing: what it beats is on no front.
        points = [
            (baseline["tests"][0]["metrics"]["mAP"], -math.inf),
            *((one["mAP"]["mean"], _cost(one, cost)) for one in done),
        ]
        for one, first in zip(done, pareto(points)[1:], strict=True):
            if first:
                one["front"].append(cost)
    return [*sorted(done, key=lambda one: -one["mAP"]["mean"]), *(one for one in summaries if one["mAP"] is None)]


def pareto(points: Sequence[tuple[float, float | None]]) -> list[bool]:
    """Which of (mAP, cost) are on the front: none other is as good in both and better in one. A point without a cost is
    not, and rules nobody out."""

    def beaten(quality: float, cost: float) -> bool:
        return any(
            other is not None and better >= quality and other <= cost and (better > quality or other < cost)
            for better, other in points
        )

    return [cost is not None and not beaten(quality, cost) for quality, cost in points]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation (n − 1), ``None`` of a single value; and the values."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "values": list(values)}


def _summary(row: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any]) -> dict[str, Any]:
    done = [run for run in runs if run["status"] == "finished"]
    timed = [run for run in done if run["seconds"] > 0]
    counted = row["counted"]
    found: dict[str, Any] = {
        **row,
        "seeds": [run["seed"] for run in done],
        "failed": [{key: run[key] for key in ("seed", "error", "hint")} for run in runs if run["status"] == "failed"],
        "parameters": done[0]["parameters"] if done else counted.get("parameters"),
        "bytes": round(statistics.fmean(run["bytes"] for run in done)) if done else counted.get("bytes"),
        "activation_bytes": counted.get("activation_bytes"),
        "images_per_second": (
            sum(run["samples"] for run in timed) / sum(run["seconds"] for run in timed) if timed else None
        ),
        "front": [],
        **dict.fromkeys((*METRICS, "gain", "validation_mAP")),
        "also": [],
    }
    if not done:
        return found
    found |= {metric: _spread_of(done, 0, metric) for metric in METRICS}
    found["gain"] = found["mAP"]["mean"] - baseline["tests"][0]["metrics"]["mAP"]
    if all("mAP" in run["validation"] for run in done):
        found["validation_mAP"] = spread([run["validation"]["mAP"] for run in done])
    found["also"] = [
        {"data": baseline["tests"][place]["data"]} | {metric: _spread_of(done, place, metric) for metric in METRICS}
        for place in range(1, len(baseline["tests"]))
    ]
    return found


def _spread_of(runs: Sequence[Mapping[str, Any]], place: int, metric: str) -> dict[str, Any]:
    return spread([run["tests"][place]["metrics"][metric] for run in runs])


def _cost(row: Mapping[str, Any], cost: str) -> float | None:
    value = row[cost]
    if value is None:
        return None
    return -float(value) if cost == "images_per_second" else float(value)
