"""Evaluating a delta, or a backbone alone, on a dataset: what ``reidtune evaluate`` prints."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from reidtune.config import parse_image_size
from reidtune.data import Dataset, check_files, open_dataset, require_split
from reidtune.delta import find_delta
from reidtune.devices import choose_device
from reidtune.errors import ReidtuneError, SettingsError
from reidtune.model import Model, default_backbone, load
from reidtune.report.pictures import RankedRow, ranked_sheet, save_picture
from reidtune.retrieval.rank import RankResult
from reidtune.retrieval.scoring import best_matches, embed_both, rank_features

RESULT_FILE = "evaluate.json"
SHEET_ROWS, SHEET_RESULTS = 6, 10


def evaluate_dataset(
    source: str,
    delta: Path | None = None,
    *,
    backbone: str | None = None,
    pretrained: str | None = None,
    activation: str | None = None,
    image_size: str | None = None,
    layout: str | None = None,
    protocol: str | None = None,
    batch_size: int = 64,
    workers: int = 0,
    device: str = "auto",
    say: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[int, int], None] | None = None,
    sheet: Path | None = None,
    untuned: bool = False,
) -> dict[str, Any]:
    """The object that ``evaluate --json`` prints; metrics are fractions 0–1.

    ``progress`` is told (images done, images in all); ``sheet`` is a picture file for :func:`draw_sheet`;
    ``untuned`` takes the delta's backbone and preprocessing without its tuner.

    Raises:
        DataError: the data is missing or bad, or no query can be scored.
        DeltaError: the delta is damaged or does not fit the backbone.
        SettingsError: something named does not exist, or the task is not evaluated yet.
    """
    path = None if delta is None else find_delta(delta)
    size = None if image_size is None else parse_image_size(image_size)
    if path is not None and size is not None:
        raise SettingsError("A delta brings its own image size.", "Leave --image-size out.")
    chosen = choose_device(device)
    dataset = open_dataset(source, layout=layout, protocol=protocol)
    say(dataset.sentence)
    require_split(dataset, "test")
    if dataset.task != "image":
        raise SettingsError(f"{dataset.task.capitalize()} data is not evaluated yet.", "Image data is.")
    check_files([*dataset.query, *dataset.gallery])
    name = backbone or (default_backbone(source) if path is None else None)
    model = load(
        path,
        backbone=name,
        pretrained=pretrained,
        activation=activation,
        image_size=size,
        device=chosen,
    )
    if untuned:
        model = Model(model.backbone)
    images = len({id(record) for record in (*dataset.query, *dataset.gallery)})
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None:
            progress(done, images)

    features = embed_both(
        model.encode,
        model.backbone.preprocess,
        dataset.query,
        dataset.gallery,
        batch_size=batch_size,
        workers=workers,
        progress=count,
    )
    result = rank_features(*features, dataset.query, dataset.gallery, dataset.protocol)
    if sheet is not None:
        draw_sheet(result, features, dataset, sheet)
    own = model.backbone.describe()
    header = model.header
    return {
        "schema": 1,
        "task": dataset.task,
        "layout": dataset.layout,
        "protocol": result.protocol,
        "tie_rule": result.tie_rule,
        "metrics": result.metrics(),
        "queries": {"total": result.queries, "skipped": len(result.skipped_queries)},
        "skipped_examples": [dataset.query[index].path.name for index in result.skipped_queries[:3]],
        "gallery": {"total": result.gallery, "ignored": result.ignored},
        "data": {"hash": dataset.manifest()["hash"]},
        "backbone": {
            "name": own["name"],
            "pretrained": own["pretrained"],
            "fingerprint": own["fingerprint"]["digest"],
        },
        "delta": None
        if header is None or path is None
        else {"path": str(path), "method": header.method, "digest": header.digest, "parameters": header.parameters},
    }


def draw_sheet(result: RankResult, features: tuple[Tensor, Tensor], dataset: Dataset, path: Path) -> None:
    """A picture of ranked lists: queries from the worst to the best average precision, evenly apart, their first
    results framed green (right) or red (wrong).

    Raises:
        ReidtuneError: it cannot be written.
    """
    precision = result.average_precision.nan_to_num(2.0)  # skipped queries last, where they are not drawn
    order = precision.argsort(stable=True).tolist()[: result.queries - len(result.skipped_queries)]
    count = min(SHEET_ROWS, len(order))
    chosen = [order[round(place * (len(order) - 1) / max(1, count - 1))] for place in range(count)]
    rows = []
    for index in chosen:
        best = best_matches(*features, dataset.query, dataset.gallery, dataset.protocol, index, SHEET_RESULTS)
        label = f"AP {100 * precision[index]:.1f}"
        rows.append(RankedRow(dataset.query[index], best, label))
    save_picture(ranked_sheet(rows), path)


def check_output(path: Path, force: bool) -> None:
    """Raise :class:`SettingsError` where :func:`write_result` to ``path`` would fail or replace a file unasked, which
    is better known before an evaluation than after it."""
    if path.is_dir():
        raise SettingsError(f"--output {path} is a folder.", "Give a file.")
    if path.exists() and not force:
        raise SettingsError(f"--output {path} exists.", "Choose another file, or replace it with --force.")


def check_sheet(path: Path) -> None:
    """Raise :class:`SettingsError` where :func:`draw_sheet` cannot write a picture of that name."""
    if path.is_dir():
        raise SettingsError(f"--sheet {path} is a folder.", "Give a .png file.")
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise SettingsError(f"--sheet {path}: {path.suffix or 'no ending'} is no kind of picture.", "Use a .png file.")


def write_result(result: dict[str, Any], path: Path) -> None:
    """Write a result as JSON, atomically.

    Raises:
        ReidtuneError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ReidtuneError(f"{path} could not be written: {error.strerror or error}.") from error


def result_beside(delta: Path) -> Path:
    """Where the result of evaluating ``delta`` is kept: ``evaluate.json`` in a run folder, else ``NAME.evaluate.json``
    beside the file."""
    path = find_delta(delta)
    if (path.parent / "recipe.toml").is_file():
        return path.parent / RESULT_FILE
    return path.with_name(f"{path.stem}.{RESULT_FILE}")
