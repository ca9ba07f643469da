"""Many deltas on many datasets: every model loaded once, every dataset listed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from reidtune.config import parse_image_size
from reidtune.data import open_dataset
from reidtune.data.open import DEMOS
from reidtune.delta import find_delta, read_header
from reidtune.devices import choose_device
from reidtune.evaluation import evaluate_dataset, plan_evaluation
from reidtune.model import Model, default_backbone, load

PLANNED = ("task", "modalities", "query_modalities", "gallery_modalities", "matrix", "cameras", "analysis")


def evaluate_all(
    sources: Sequence[str],
    deltas: Sequence[Path | None] = (None,),
    *,
    backbone: str | None = None,
    pretrained: str | None = None,
    activation: str | None = None,
    image_size: str | None = None,
    layout: str | None = None,
    columns: Mapping[str, str] | None = None,
    protocol: str | None = None,
    device: str = "auto",
    say: Callable[[str], None] = lambda sentence: None,
    sheet: Path | None = None,
    **options: Any,
) -> Iterator[tuple[Path | None, dict[str, Any]]]:
    """Each of ``deltas`` on each of ``sources``, as :func:`reidtune.evaluation.evaluate_dataset` evaluates one on one:
    pairs of the delta and the result, delta by delta.

    A ``None`` among deltas is the backbone alone: that of the first delta, with its preprocessing, or without any delta
    ``backbone``, by default that of the first of ``sources``. What is wrong with any delta file or dataset is said
    before the first evaluation. ``sheet`` is drawn of the last delta on the first dataset.

    Raises what :func:`reidtune.evaluation.evaluate_dataset` raises.
    """
    size = None if image_size is None else parse_image_size(image_size)
    switches: dict[str, Any] = {"pretrained": pretrained, "activation": activation, "image_size": size}
    chosen = choose_device(device)
    for given in filter(None, deltas):
        read_header(find_delta(given))
    reading: dict[str, Any] = {"layout": layout, "protocol": protocol, "columns": columns}
    opened = {source: open_dataset(source, **reading) for source in dict.fromkeys(sources)}
    like = next(filter(None, deltas), None)
    loaded: dict[tuple[Path | None, str | None], Model] = {}

    def model(path: Path | None, name: str | None) -> Model:
        if (path, name) not in loaded:
            loaded.clear()  # one at a time: backbones are large
            loaded[path, name] = load(path, backbone=name, device=chosen, **switches)
        return loaded[path, name]

    planned = {name: options.pop(name) for name in PLANNED if name in options}
    plans = {
        (delta, source): plan_evaluation(opened[source], delta, say=say, **planned)
        for delta in deltas
        for source in sources
    }
    for delta in deltas:
        for source in sources:
            path = delta or like
            name = backbone or (default_backbone(sources[0]) if path is None else None)
            last = delta is deltas[-1] and source == sources[0]
            result = evaluate_dataset(
                opened[source],
                path,
                plan=plans[delta, source],
                models=partial(model, path, name),
                image_size=image_size,
                device=device,
                say=say,
                sheet=sheet if last else None,
                untuned=delta is None,
                analysis=planned.get("analysis"),
                **options,
            )
            result["data"]["name"] = source if source in DEMOS else Path(source).resolve().name
            yield delta, result
