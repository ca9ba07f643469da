"""Making a training ready: settings, backbone, data, run folder; and the dry run."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reidtune.backbone.architecture import TINY
from reidtune.backbone.load import Backbone, load_backbone
from reidtune.config import RunConfig, changed_settings, resolve_config, to_toml, validate_settings
from reidtune.data import check_files, label_map, open_dataset, require_split, split_identities, train_loader
from reidtune.data.record import Dataset, Record, cameras, identities
from reidtune.data.transforms import TrainTransform
from reidtune.delta import read_tensors, write_delta
from reidtune.delta.format import canonical_json
from reidtune.delta.write import versions
from reidtune.errors import ReidtuneError, SettingsError
from reidtune.methods.base import Method
from reidtune.methods.registry import find_method
from reidtune.model import DEFAULT_BACKBONE, Model
from reidtune.retrieval.evaluate import validate, validation_protocol
from reidtune.training.loop import Reporter, Task, autocast, plan_steps, sampler_for, train
from reidtune.training.memory import saved_bytes
from reidtune.training.objective import IdentityObjective
from reidtune.training.state import STATE_FILE, load_state

RECIPE_FILE = "recipe.toml"
_MEMORY_SAMPLE = 4  # images for counting what autograd keeps


@dataclass
class Prepared:
    """A training that could start: everything resolved and checked, nothing written yet."""

    config: RunConfig
    dataset: Dataset
    method: Method
    model: Model
    train: list[Record]
    validation: list[Record]
    protocol: str  # of the validation


def default_backbone(source: str) -> str:
    """``tiny`` for the demo world, else the default open_clip model."""
    return TINY if source == "demo" or source.startswith("demo:") else DEFAULT_BACKBONE


def prepare(source: str, config: RunConfig, say: Callable[[str], None] = lambda sentence: None) -> Prepared:
    """Open the data, check every file's header, load the backbone, build the tuner.

    Raises:
        DataError: the data is missing or bad. SettingsError: settings that do not fit. ReidtuneError: no weights.
    """
    page = find_method(config.method)
    if page.name == "zero-shot":
        raise SettingsError("zero-shot has nothing to train.", f"Use: reidtune evaluate {source}")
    settings = validate_settings(page.Settings, config.settings)
    dataset = open_dataset(source, layout=config.data.layout, protocol=config.data.protocol)
    say(dataset.sentence)
    require_split(dataset, "train")
    if dataset.task not in page.tasks:
        raise SettingsError(
            f"The method {page.name} is for {' and '.join(page.tasks)} data, but this is {dataset.task} data.",
            "See: reidtune methods",
        )
    usable = [record for record in dataset.train if record.identity > 0]
    rest, validation = split_identities(usable, config.data.validation_fraction, config.seed)
    sampler_for(rest, config)  # a batch that cannot be filled is said before anything slow happens
    check_files(usable)
    device = choose_device(config.training.device)
    chosen = config.backbone
    backbone = load_backbone(
        chosen.name or default_backbone(source),
        chosen.pretrained,
        image_size=chosen.image_size,
        resize=chosen.resize,
        activation=chosen.activation,
        device=device,
    )
    check_precision(config.training.precision, device)
    method = page(settings)
    model = Model(backbone, method.tuner(backbone, config.seed))
    return Prepared(
        config, dataset, method, model, rest, validation, validation_protocol(validation, dataset.protocol)
    )


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else MPS, else the CPU.

    Raises:
        SettingsError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f'"{name}" is no device.', "Choose auto, cpu, cuda, cuda:0 or mps.") from error
    usable = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not usable.get(device.type, False):
        raise SettingsError(f"The device {name} is not available here.", "Use --device auto or --device cpu.")
    return device


def check_precision(precision: str, device: torch.device) -> None:
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise SettingsError("This GPU has no bfloat16 arithmetic.", "Use --precision fp32.")


def run_training(
    prepared: Prepared,
    source: str,
    output: Path,
    reporter: Reporter,
    *,
    resume: bool = False,
    init_from: Path | None = None,
) -> dict[str, Any]:
    """Train into the run folder ``output`` and return the object that ``train --json`` prints.

    Raises:
        SettingsError: a resumed run's settings, data or backbone changed (they are named).
        Interrupted: Ctrl-C or SIGTERM; see :func:`reidtune.training.loop.train`.
    """
    config, model, backbone = prepared.config, prepared.model, prepared.model.backbone
    identity = {
        "recipe": to_toml(config),
        "data": prepared.dataset.manifest()["hash"],
        "backbone": backbone.fingerprint["digest"],
    }
    if resume:
        _check_unchanged(output, config, identity)
    elif init_from is not None:
        model.tuner.load_tensors(read_tensors(init_from))
    resume_command = f"reidtune train {source} --resume {output}"
    if not resume:
        _start_folder(output, source, config, backbone)
    labels = label_map(prepared.train)

    def metrics_now() -> dict[str, Any]:
        model.tuner.eval()
        with autocast(model, config.training.precision):
            return validate(
                model.encode_images,
                backbone.preprocess,
                prepared.validation,
                prepared.protocol,
                batch_size=config.training.batch_size,
                workers=config.training.workers,
            )

    def save(path: Path, metrics: dict[str, Any]) -> None:
        write_delta(path, model.tuner.tensors(), delta_header(prepared, metrics))

    task = Task(
        config=config,
        model=model,
        method=prepared.method,
        records=prepared.train,
        labels=labels,
        validate=metrics_now if prepared.validation else None,
        save=save,
        run=output,
        identity=identity,
        resume_command=resume_command,
    )
    begun = time.monotonic()
    progress = train(task, reporter, resume=resume)
    delta = output / "delta.safetensors"
    return {
        "schema": 1,
        "run": str(output),
        "delta": str(delta),
        "parameters": {"trainable": model.tuner.parameter_count(), "backbone": backbone.parameter_count()},
        "bytes": delta.stat().st_size,
        "seconds": round(time.monotonic() - begun, 1),
        "metrics": progress.metrics,
    }


def delta_header(prepared: Prepared, metrics: dict[str, Any]) -> dict[str, Any]:
    """What the delta of this training says of itself; no paths, times or devices."""
    dataset, config = prepared.dataset, prepared.config
    validation_identities = sorted(identities(prepared.validation))
    names = dataset.identity_names
    return {
        "method": prepared.method.name,
        "settings": prepared.method.settings.model_dump(mode="json"),
        "backbone": prepared.model.backbone.describe(),
        "preprocess": prepared.model.backbone.preprocess.to_json(),
        "task": dataset.task,
        "protocol": dataset.protocol,
        "data": {
            **dataset.manifest(),
            "validation": {
                "fraction": config.data.validation_fraction,
                "seed": config.seed,
                "identities": [names.get(identity, str(identity)) for identity in validation_identities],
            },
            "noun": config.data.noun,
        },
        "metrics": metrics,
    }


def dry_run(prepared: Prepared) -> dict[str, Any]:
    """What a training would be: the object that ``train --dry-run --json`` prints. One real step on a few images
    counts the bytes that autograd keeps; nothing is written."""
    config, model, backbone = prepared.config, prepared.model, prepared.model.backbone
    sampler = sampler_for(prepared.train, config)
    plan = plan_steps(prepared.method.stages(), len(sampler), config)
    labels = label_map(prepared.train)
    transform = TrainTransform(
        backbone.preprocess, config.augmentation.flip, config.augmentation.pad, config.augmentation.erase
    )
    batch = sampler.batches(0)[0][:_MEMORY_SAMPLE]
    images, _, _ = next(train_loader(prepared.train, labels, [batch], transform, seed=config.seed, epoch=0))
    tuner = model.tuner.train()

    def forward() -> Tensor:
        with autocast(model, config.training.precision):
            return model.encode_images(images)

    held = [*tuner.parameters(), *backbone.model.parameters()]
    per_image = saved_bytes(forward, held) // len(images)
    tuner.eval()
    header = canonical_json(delta_header(prepared, {}))
    tensors = sum(tensor.numel() * tensor.element_size() for tensor in tuner.tensors().values())
    return {
        "schema": 1,
        "data": {
            **prepared.dataset.manifest(),
            "training": {"images": len(prepared.train), "identities": len(labels)},
            "validation": {
                "images": len(prepared.validation),
                "identities": len(identities(prepared.validation)),
                "cameras": len(cameras(prepared.validation)),
                "protocol": prepared.protocol,
            },
        },
        "steps": {"total": plan.steps, "per_epoch": plan.steps_per_epoch},
        "parameters": {"trainable": tuner.parameter_count(), "backbone": backbone.parameter_count()},
        "bytes": tensors + len(header.encode()),
        "memory": {
            "activation_bytes_per_image": per_image,
            "activation_bytes_per_batch": per_image * config.training.batch_size,
        },
    }


def resumed_config(run: Path, flags: dict[str, Any]) -> tuple[RunConfig, str]:
    """The settings of a run folder with ``flags`` on top, and the data it was started on.

    Raises:
        SettingsError: it is no run folder.
    """
    recipe, environment = run / RECIPE_FILE, run / "environment.json"
    if not (recipe.is_file() and (run / STATE_FILE).is_file()):
        raise SettingsError(f"{run} holds no run to resume.", "Give the folder that a run was written to.")
    source = str(json.loads(environment.read_text())["data"]) if environment.is_file() else ""
    return resolve_config(str(recipe), flags), source


def _check_unchanged(run: Path, config: RunConfig, identity: dict[str, Any]) -> None:
    _, before, _ = load_state(run)
    old = resolve_config(str(run / RECIPE_FILE), {})
    if changed := changed_settings(old, config):
        raise SettingsError(
            f"A resumed run keeps its settings, but these changed: {', '.join(changed)}.",
            f"Resume without them, or start a new run (with --init-from {run} to start from its delta).",
        )
    for key, what in (("data", "data (files, identities or cameras)"), ("backbone", "backbone")):
        if before[key] != identity[key]:
            raise SettingsError(f"The {what} is not the one that the run {run} was started on.", "Start a new run.")


def _start_folder(output: Path, source: str, config: RunConfig, backbone: Backbone) -> None:
    environment = {
        "data": source if source.startswith("demo") else str(Path(source).expanduser().resolve()),
        "device": str(backbone.device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / RECIPE_FILE).write_text(to_toml(config), encoding="utf-8")
        (output / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ReidtuneError(
            f"The run folder {output} cannot be written: {error.strerror or error}.", "Choose another --output."
        ) from error
