"""Evaluating a delta, or a backbone alone, on a dataset: what ``reidtune evaluate`` prints."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reidtune.analysis import Analysis, check_analysis
from reidtune.camera_names import by_name
from reidtune.cameras import choose_use, use_sentence
from reidtune.config import parse_image_size
from reidtune.data import Dataset, check_files, open_dataset, require_split
from reidtune.data.reading import reading as reading_on
from reidtune.data.workers import choose_workers
from reidtune.delta import find_delta, read_header
from reidtune.devices import choose_device
from reidtune.errors import DataError, SettingsError, did_you_mean
from reidtune.methods.registry import find_method
from reidtune.missing import Known, plan_known
from reidtune.model import Model, default_backbone, load
from reidtune.ranking import analysed, rank_dataset
from reidtune.report.ranked_lists import draw_sheet
from reidtune.retrieval.feature_cache import FeatureCache, code_stamp
from reidtune.retrieval.protocol import LEAVE_ONE_OUT
from reidtune.retrieval.scoring import scores

RESULT_FILE = "evaluate.json"
TASKS = ("image", "text", "multimodal")


@dataclass(frozen=True)
class Plan:
    """A dataset that can be evaluated: as its task, with what is ``known`` of its samples, the use of embeddings of
    ``cameras``, and the hash of the records (``manifest``)."""

    dataset: Dataset
    known: Known | None
    cameras: str | None
    manifest: str


def plan_evaluation(
    dataset: Dataset,
    delta: Path | None = None,
    *,
    task: str | None = None,
    modalities: Sequence[str] | None = None,
    query_modalities: Sequence[str] | None = None,
    gallery_modalities: Sequence[str] | None = None,
    matrix: bool = False,
    cameras: str | None = None,
    analysis: Analysis | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Plan:
    """Whether a delta (``None``: a backbone alone) can be evaluated on a dataset in this way, before a model is loaded;
    see :func:`evaluate_dataset` for the arguments, and for what is raised."""
    if task not in (None, *TASKS):
        raise SettingsError(f'Unknown task "{task}".{did_you_mean(task, TASKS)}', f"Known tasks: {', '.join(TASKS)}.")
    say(dataset.sentence)
    require_split(dataset, "test")
    header = None if delta is None else read_header(find_delta(delta))
    manifest = dataset.manifest()["hash"]
    dataset = _as_task(dataset, task)
    if analysis is not None:
        check_analysis(analysis, dataset.protocol)
    use = None
    if header is not None:
        dataset = by_name(dataset, header.settings, header.data, cameras)
        everything = (*dataset.query, *dataset.gallery)
        use = choose_use(header.settings, everything, header.data.get("hash") == manifest, cameras)
        if sentence := use_sentence(use, header.settings):
            say(sentence)
    known = plan_known(
        dataset,
        () if header is None else header.data.get("modalities") or (),
        single=task == "image",
        modalities=modalities,
        query=query_modalities,
        gallery=gallery_modalities,
        matrix=matrix,
        say=say,
    )
    if dataset.task == "text" and not any(record.captions for record in dataset.query):
        raise DataError(f"No test image of {dataset.root} has a caption.", "Evaluate the images alone: --task image.")
    check_files([*dataset.query, *dataset.gallery])
    return Plan(dataset, known, use, manifest)


def evaluate_dataset(
    source: str | Dataset,
    delta: Path | None = None,
    *,
    plan: Plan | None = None,
    models: Callable[[], Model] | None = None,
    backbone: str | None = None,
    pretrained: str | None = None,
    activation: str | None = None,
    image_size: str | None = None,
    layout: str | None = None,
    columns: Mapping[str, str] | None = None,
    task: str | None = None,
    protocol: str | None = None,
    modalities: Sequence[str] | None = None,
    query_modalities: Sequence[str] | None = None,
    gallery_modalities: Sequence[str] | None = None,
    matrix: bool = False,
    batch_size: int = 64,
    workers: int | None = 0,
    device: str = "auto",
    say: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[int, int], None] | None = None,
    sheet: Path | None = None,
    untuned: bool = False,
    cache: bool = False,
    cameras: str | None = None,
    analysis: Analysis | None = None,
) -> dict[str, Any]:
    """The object that ``evaluate --json`` prints; metrics are fractions 0–1.

    ``source`` is what :func:`reidtune.data.open_dataset` opens, or has opened; ``plan`` is that of
    :func:`plan_evaluation`, where it was made before, with the same arguments. ``models`` gives ``delta``, or a
    backbone alone, where it is loaded otherwise than by :func:`reidtune.load`; it is asked once the data was checked.

    Of text data, captions are the queries and images the gallery; ``image_to_text`` has the other direction.
    ``task`` image takes the images of text data alone, each a query among the others, and of multi-modal data one
    modality, the first that is named; by default the data says it. A delta of another task is evaluated like any: what
    it does not tune is the backbone's.

    Of multi-modal data, ``modalities`` (of both sides), ``query_modalities`` and ``gallery_modalities`` restrict what
    is known of the samples, and ``matrix`` adds the metrics for every subset of both.

    For ``layout`` and ``columns`` see :func:`reidtune.data.open_dataset`.

    ``progress`` is told (images and captions done, in all); ``sheet`` is a picture file for
    :func:`reidtune.report.ranked_lists.draw_sheet`; ``untuned`` takes the delta's backbone and preprocessing without
    its tuner. With ``cache``, features that were computed before are taken from the cache folder and others kept there
    (:class:`reidtune.retrieval.feature_cache.FeatureCache`). ``cameras`` says how a delta with embeddings of cameras
    embeds data other than its own; see :func:`reidtune.cameras.choose_use`. ``analysis`` is what else is done with the
    features, which ``matrix`` leaves as they are.

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
    if plan is None:
        reading: dict[str, Any] = {"layout": layout, "protocol": protocol, "columns": columns}
        plan = plan_evaluation(
            source if isinstance(source, Dataset) else open_dataset(source, **reading),
            None if untuned else path,
            task=task,
            modalities=modalities,
            query_modalities=query_modalities,
            gallery_modalities=gallery_modalities,
            matrix=matrix,
            cameras=cameras,
            analysis=analysis,
            say=say,
        )
    dataset, known, use = plan.dataset, plan.known, plan.cameras
    if models is not None:
        model = models()
    else:
        name = backbone or (default_backbone(source) if path is None and isinstance(source, str) else None)
        switches: dict[str, Any] = {"pretrained": pretrained, "activation": activation, "image_size": size}
        model = load(path, backbone=name, device=chosen, **switches)
    # Another one, since what is known of samples changes the modalities of the model.
    model = Model(model.backbone) if untuned else Model(model.backbone, model.tuner, model.header, model.path)
    if use is not None:
        model.use_cameras(use)
    kept = _feature_cache(model, dataset, (known and known.joined, use, batch_size)) if cache else None
    workers = choose_workers(workers, model.backbone.device)
    options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "progress": progress, "cache": kept}
    with reading_on(model.backbone.device):
        ranking = rank_dataset(model, dataset, known, **options)
    if kept is not None and kept.found:
        say(
            f"{kept.found:,} of {kept.found + kept.computed:,} features from the cache (--no-cache computes them anew)."
        )
    if analysis is not None:
        ranking = analysed(ranking, analysis)
    if sheet is not None:
        draw_sheet(ranking, sheet)
    own, result = model.describe(), ranking.result
    if model.header is not None:
        own["delta"]["parameters"] = model.header.parameters
    skipped = [ranking.query[index].path.name for index in result.skipped_queries]
    return {
        "schema": 1,
        "task": dataset.task,
        "layout": dataset.layout,
        "protocol": result.protocol,
        "tie_rule": result.tie_rule,
        **scores(result),
        "skipped_examples": list(dict.fromkeys(skipped))[:3],
        **ranking.facts,
        "data": {"name": dataset.root.resolve().name, "hash": plan.manifest},
        **({} if use is None else {"cameras": use}),
        **own,
    }


def _feature_cache(model: Model, dataset: Dataset, how: tuple[Any, ...]) -> FeatureCache:
    """The cache of this model's features of the dataset, embedded ``how``: the size of batches, and versions, change
    last bits. A method's page may be another package's, which is looked at as a whole, and a model folder has a
    tokenizer of its own."""
    own = model.describe()
    backbone, delta = own["backbone"]["fingerprint"], own["delta"] and own["delta"]["digest"]
    others = [folder] if (folder := model.backbone.architecture.folder) else []
    if model.header is not None:
        page = Path(inspect.getfile(find_method(model.header.method)))
        others.append(page.parent if (page.parent / "__init__.py").is_file() else page)
    parts = (backbone, delta, *how, model.backbone.device.type, code_stamp(*others))
    return FeatureCache(repr(parts), str(dataset.root.absolute()))


def _as_task(dataset: Dataset, task: str | None) -> Dataset:
    """The dataset as one of ``task``: text data may be taken as its test images, each a query among the others, and
    multi-modal data as images."""
    if task in (None, dataset.task):
        return dataset
    if task == "image" and dataset.task == "multimodal":
        return replace(dataset, task="image")
    if task == "image":
        return replace(dataset, task="image", protocol=LEAVE_ONE_OUT, query=dataset.gallery)
    raise SettingsError(f"--task {task} cannot be evaluated on {dataset.task} data.", "Leave --task out.")


def result_beside(delta: Path) -> Path:
    """Where the result of evaluating ``delta`` is kept: ``evaluate.json`` in a run folder, else ``NAME.evaluate.json``
    beside the file."""
    path = find_delta(delta)
    if (path.parent / "recipe.toml").is_file():
        return path.parent / RESULT_FILE
    return path.with_name(f"{path.stem}.{RESULT_FILE}")
