"""What the table of a comparison says, for the terminal, for a page and for CSV: cells, and the sentences below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reidtune.report.tables import and_list
from reidtune.units import format_bytes, percent

COSTS = ("parameters", "bytes", "activation_bytes", "images_per_second")
"""What ``compare.json`` calls each cost: less is better, of images a second more."""
NOTHING = "–"
MARK = "*"  # of a row on the Pareto front


def unit_of(content: Mapping[str, Any]) -> str:
    """What a batch consists of: image, pair or sample."""
    return {"multimodal": "sample", "text": "pair"}.get(content["baseline"]["tests"][0]["task"], "image")


def headings_of(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The headings of the table."""
    return ("method", "mAP", "gain", "rank-1", "trainable", "delta", "kept", f"{unit_of(content)}s/s")


def cells_of(content: Mapping[str, Any]) -> list[list[str]]:
    """A list of cells for the baseline and each row, in the order of :func:`headings_of`. Every cell of a cost ends in
    the mark or in a space, so that numbers stand below each other."""
    first = content["baseline"]["tests"][0]["metrics"]
    zero = [content["baseline"]["name"], percent(first["mAP"]), NOTHING, percent(first["rank-1"])]
    return [
        [*zero, *("0 ", f"{NOTHING} ", f"{NOTHING} ", f"{NOTHING} ")],
        *(_row(row, content) for row in content["rows"]),
    ]


def spread(value: Mapping[str, Any] | None) -> str:
    """``39.6 ± 2.4`` in percent; of one seed without a deviation."""
    if value is None:
        return NOTHING
    deviation = "" if value["deviation"] is None else f" ± {percent(value['deviation'])}"
    return percent(value["mean"]) + deviation


def cost_text(row: Mapping[str, Any], cost: str) -> str:
    """``16,384``, ``1.2 MB`` or ``853``."""
    value = row[cost]
    if value is None:
        return NOTHING
    if cost == "images_per_second":
        return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}"
    return f"{value:,}" if cost == "parameters" else format_bytes(value)


def notes_of(content: Mapping[str, Any]) -> list[str]:
    """The sentences below the table: budget, how the numbers were obtained, what the mark means, what failed."""
    test = content["baseline"]["tests"][0]
    kind = "mAP and rank-1 of text to image" if test["task"] == "text" else "mAP and rank-1"
    seeds = content["seeds"]
    fewer = ", or those that a row names" if any(0 < len(row["seeds"]) < len(seeds) for row in content["rows"]) else ""
    of = f"mean ± standard deviation over {len(seeds)} seeds{fewer}" if len(seeds) > 1 else f"seed {seeds[0]} alone"
    one = unit_of(content)
    costs = [f"Kept: what autograd keeps for {'an' if one == 'image' else 'a'} {one}, counted."]
    if any(row["front"] for row in content["rows"]):
        costs.insert(0, f"{MARK} on the Pareto front: no other row is as good for less.")
    if any(row["images_per_second"] for row in content["rows"]):
        costs.append(f"{headings_of(content)[-1]}: {_machine(content, one)}.")
    notes = [
        budget_of(content),
        f"{kind} on the test split, {of}; gain is over {content['baseline']['name']}.",
        test["obtained"],
        " ".join(costs),
    ]
    notes += [f"{row['name']}: {_set_aside(row['set_aside'])}." for row in content["rows"] if row["set_aside"]]
    for row in content["rows"]:
        told = {(problem["error"], problem["hint"]): None for problem in row["failed"]}
        for error, hint in told:
            failed = [
                problem["seed"] for problem in row["failed"] if (problem["error"], problem["hint"]) == (error, hint)
            ]
            which = f"seed{'s' * (len(failed) > 1)} {and_list(list(map(str, failed)))}"
            notes.append(f"{row['name']} failed with {which}: {' '.join(filter(None, (error, hint)))}")
    if waiting := sum(run["status"] == "waiting" for run in content["runs"]):
        notes.append(f"{waiting} of {len(content['runs'])} runs are not done yet.")
    return notes


def budget_of(content: Mapping[str, Any]) -> str:
    """The sentence that says what every row got."""
    budget, shared = content["budget"], content["shared"]
    length = f"{budget['epochs']} epoch{'s' * (budget['epochs'] != 1)}" if budget["epochs"] else ""
    if steps := budget["steps"]:
        low, high = steps
        told = f"{low:,} steps" if low == high else f"{low:,} to {high:,} steps"
        length = f"{length} ({told})" if length else told
    elif not length:
        length = f"{shared['training.steps']:,} steps"
    source = "" if budget["from"] == "flags" else f", as in the recipe of {budget['from']}"
    size = shared["backbone.image_size"]
    pixels = f" at {size[0]}×{size[1]} pixels" if size else ""
    return f"Budget of every row: {length}, batches of {budget['batch_size']:,}{pixels}{source}."


def also_of(content: Mapping[str, Any]) -> list[tuple[str, list[list[str]], str]]:
    """For each further dataset its name, a line of (method, mAP, rank-1) a row, and how these were obtained."""
    found = []
    for place, test in enumerate(content["baseline"]["tests"][1:]):
        metrics = test["metrics"]
        lines = [[content["baseline"]["name"], percent(metrics["mAP"]), percent(metrics["rank-1"])]]
        for row in content["rows"]:
            also = row["also"][place] if row["also"] else {"mAP": None, "rank-1": None}
            lines.append([row["name"], spread(also["mAP"]), spread(also["rank-1"])])
        found.append((test["data"], lines, test["obtained"]))
    return found


def _row(row: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    seeds, asked = len(row["seeds"]), len(content["seeds"])
    some = f" ({seeds} of {asked} seeds)" if 0 < seeds < asked else ""
    state = "" if row["mAP"] is not None else " (failed)" if row["failed"] else " (not yet)"
    gain = NOTHING if row["gain"] is None else f"{100 * row['gain']:+.1f}".replace("-0.0", "+0.0")
    costs = [f"{cost_text(row, cost)}{MARK if cost in row['front'] else ' '}" for cost in COSTS]
    return [row["name"] + some + state, spread(row["mAP"]), gain, spread(row["rank-1"]), *costs]


def _machine(content: Mapping[str, Any], one: str) -> str:
    """On what the speed was measured."""
    found = {(run["device"], run["threads"]): None for run in content["runs"] if run["status"] == "finished"}
    words = [f"{device}, {threads} thread{'s' * (threads != 1)}" for device, threads in found]
    if len(words) > 1:
        return f"{one}s a second of training, reading included; not to be compared, since measured on {and_list(words)}"
    return f"{one}s a second of training, reading included, measured on this machine{f' ({words[0]})' if words else ''}"


def _set_aside(values: Mapping[str, Any]) -> str:
    words = [f"{name} {'auto' if value is None else value}" for name, value in values.items()]
    return f"its recipe has {and_list(words)}, which gave way to what all rows share"


def rows_for_csv(content: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Headings and a row for each row of the table: fractions and whole numbers, nothing rounded for people."""
    head = ["name", "method", "seeds", "mAP", "mAP_deviation", "rank-1", "rank-1_deviation", "gain", "validation_mAP"]
    head += [*COSTS, "front"]
    metrics = content["baseline"]["tests"][0]["metrics"]
    name = content["baseline"]["name"]
    rows: list[list[Any]] = [[name, name, "", metrics["mAP"], "", metrics["rank-1"], "", *[""] * (len(head) - 7)]]
    for row in content["rows"]:
        line: list[Any] = [row["name"], row["method"], " ".join(map(str, row["seeds"]))]
        for metric in ("mAP", "rank-1"):
            line += ["", ""] if row[metric] is None else [row[metric]["mean"], row[metric]["deviation"]]
        validation = row["validation_mAP"]
        line += [row["gain"], validation and validation["mean"], *(row[cost] for cost in COSTS), " ".join(row["front"])]
        rows.append(["" if value is None else value for value in line])
    return head, rows
