"""The dry run: what a training would be, counted and not guessed."""

from __future__ import annotations

from typing import Any

from reidtune.data import label_map
from reidtune.data.record import cameras, identities
from reidtune.delta.format import canonical_json
from reidtune.launch import launched
from reidtune.training.memory_plan import plan_memory
from reidtune.training.prepare import Prepared, delta_header
from reidtune.training.schedule import plan_steps, sampler_for


def dry_run(prepared: Prepared) -> dict[str, Any]:
    """What a training would be: the object that ``train --dry-run --json`` prints. Real steps on a few samples
    count the bytes that autograd keeps, exactly, and tell the peak; nothing is written. Of the processes of torchrun,
    memory is that of each."""
    config, model, backbone = prepared.config, prepared.model, prepared.model.backbone
    sampler = sampler_for(prepared.train, config)
    plan = plan_steps(prepared.method.stages(), len(sampler), config)
    labels = label_map(prepared.train)
    texts = prepared.dataset.task == "text"
    tuner = model.tuner
    launch = launched()
    processes = 1 if launch is None else launch.size
    share = -(-config.training.batch_size // processes)
    chosen = plan_memory(prepared, share)
    kept = chosen.footprint.kept
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
        "frozen": {**prepared.frozen.to_json(), "validation": prepared.frozen_validation.to_json()},
        "memory": {
            "activation_bytes_per_image": kept.per_sample,
            "activation_bytes_fixed": kept.fixed,
            "activation_bytes_per_batch": chosen.kept,
            "held_bytes": chosen.held,
            "peak_bytes": chosen.peak,
            "recomputed_blocks": chosen.recomputed,
            "micro_batch": chosen.micro_batch,
            "processes": processes,
            "batch": share,
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
