"""A comparison as one JSON object: ``compare.json``, and what ``compare --json`` prints."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import torch

from reidtune.comparison.rows import BASELINE, Row
from reidtune.comparison.summary import summarise
from reidtune.delta.write import versions
from reidtune.devices import choose_device
from reidtune.report.tables import obtained

if TYPE_CHECKING:
    from reidtune.comparison.work import Work

_OF_A_TEST = ("task", "layout", "protocol", "tie_rule", "metrics", "queries", "gallery", "image_to_text")


def content_of(work: Work) -> dict[str, Any]:
    """The object; runs that wait are in it, so it can be written at any time."""
    settings, names = work.settings, list(work.tests)
    runs = [_run(work, row, seed) for row, seed in work.runs()]
    tests = _tests(names, work.baseline)
    for test, result in zip(tests, work.baseline, strict=True):
        test["obtained"] = obtained({key: value for key, value in result.items() if key != "ties"})
    baseline = {"name": BASELINE, "tests": tests}
    rows = [
        {
            "name": row.name,
            "method": row.method,
            "recipe": row.recipe,
            "set": {name: value for name, value in row.flags.items() if name != "method"},
            "set_aside": settings.set_aside(row),
            "counted": work.measured[row.name, work.seeds[0]].counted,
        }
        for row in work.rows
    ]
    training = settings.config.training
    said = [name for name in ("training.epochs", "training.steps") if settings.given.get(name) not in (None, "none")]
    return {
        "schema": 1,
        "output": str(work.output),
        "finished": all(run["status"] == "finished" for run in runs),
        "data": {"names": names, **settings.dataset.manifest()},
        "backbone": work.baseline[0]["backbone"],
        "budget": {
            "epochs": None if training.steps is not None else training.epochs,
            "steps": _alike(run["budget"].get("steps") for run in runs),
            "batch_size": training.batch_size,
            "from": "flags" if said else work.rows[0].name,
        },
        "shared": settings.shared,
        "given": {name: value for name, value in settings.given.items() if value is not None},
        "environment": {
            "device": str(choose_device(training.device)),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "versions": versions(),
        },
        "seeds": list(work.seeds),
        "baseline": baseline,
        "rows": summarise(rows, runs, baseline),
        "runs": runs,
    }


def _run(work: Work, row: Row, seed: int) -> dict[str, Any]:
    measured, folder = work.measured[row.name, seed], row.folder(seed)
    error, hint = work.problems.get((row.name, seed), ("", ""))
    status = "finished" if measured.finished else "failed" if error else "waiting"
    return {
        "row": row.name,
        "seed": seed,
        "run": folder,
        "status": status,
        "error": error,
        "hint": hint,
        "parameters": measured.parameters,
        "bytes": measured.bytes,
        "digest": measured.digest,
        "samples": round(measured.samples),
        "seconds": round(measured.seconds, 3),
        "images_per_second": measured.images_per_second,
        "device": measured.device,
        "threads": measured.threads,
        "budget": measured.budget,
        "validation": measured.validation,
        "tests": _tests(list(work.tests), measured.tests),
    }


def _tests(names: list[str], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"data": name, **{key: result[key] for key in _OF_A_TEST if key in result}}
        for name, result in zip(names, results, strict=False)
    ]


def _alike(values: Any) -> list[int]:
    """The smallest and the largest number there are: validation identities, and with them the steps of an epoch, are
    others for each seed."""
    found = [value for value in values if value is not None]
    return [min(found), max(found)] if found else []
