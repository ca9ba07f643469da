"""The dry run: what a training would be, counted and not guessed."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from reidtune.data import label_map
from reidtune.data.record import cameras, identities
from reidtune.delta.format import canonical_json
from reidtune.training.batches import BatchSource
from reidtune.training.loop import autocast
from reidtune.training.memory import saved_bytes
from reidtune.training.prepare import Prepared, delta_header
from reidtune.training.schedule import plan_steps, sampler_for

_MEMORY_SAMPLE = 2  # images, and twice as many, for counting what autograd keeps


def dry_run(prepared: Prepared) -> dict[str, Any]:
    """What a training would be: the object that ``train --dry-run --json`` prints. One real step on a few images
    counts the bytes that autograd keeps; nothing is written."""
    config, model, backbone = prepared.config, prepared.model, prepared.model.backbone
    sampler = sampler_for(prepared.train, config)
    plan = plan_steps(prepared.method.stages(), len(sampler), config)
    labels = label_map(prepared.train)
    texts = prepared.dataset.task == "text"
    source = BatchSource(prepared.train, labels, texts, backbone, config, model.modalities)
    indices = sampler.batches(0)[0][: 2 * _MEMORY_SAMPLE]
    tuner = model.tuner
    last = plan.stages[-1]  # the one that keeps most, where there are several
    for name, parameter in tuner.named_parameters():
        parameter.requires_grad_(last.trains(name))
    prepared.method.begin(last, model, prepared.train)
    tuner.train()
    held = [*tuner.parameters(), *backbone.model.parameters()]

    def kept(count: int) -> int:
        batch = next(source.batches([indices[:count]], 0))

        def forward() -> dict[str, Tensor]:
            with autocast(model, config.training.precision):
                return prepared.method.encode(model, batch)

        return saved_bytes(forward, held)

    count = len(indices)
    few, more = kept(count // 2), kept(count)  # what does not grow with the batch is kept once
    per_image = (more - few) // (count - count // 2)
    fixed = max(0, more - per_image * count)
    tuner.eval()
    header = canonical_json(delta_header(prepared, {}))
    tensors = sum(tensor.numel() * tensor.element_size() for tensor in tuner.tensors().values())
    return {
        "schema": 1,
        "data": {
            **prepared.dataset.manifest(),
            "training": {"captions" if texts else "images": len(prepared.train), "identities": len(labels)},
            **({"datasets": _by_dataset(prepared, texts)} if prepared.dataset.parts else {}),
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
            "activation_bytes_fixed": fixed,
            "activation_bytes_per_batch": fixed + per_image * config.training.batch_size,
        },
    }


def _by_dataset(prepared: Prepared, texts: bool) -> list[dict[str, Any]]:
    """What is trained and validated on of each dataset of a join."""
    found = []
    for part, told in zip(prepared.dataset.parts, prepared.dataset.manifest()["datasets"], strict=True):
        train, validation = (
            [record for record in records if record.identity in part.identities]
            for records in (prepared.train, prepared.validation)
        )
        found.append(
            {
                **told,
                "training": {"captions" if texts else "images": len(train), "identities": len(identities(train))},
                "validation": {"images": len(validation), "identities": len(identities(validation))},
            }
        )
    return found
