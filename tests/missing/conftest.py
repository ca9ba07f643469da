"""Deltas of some modalities on the small backbone, and datasets in place of those that would be opened."""

from __future__ import annotations

import pytest
import torch

import reidtune.evaluation
from reidtune.delta import write_delta
from reidtune.methods.registry import find_method


@pytest.fixture
def name(small_backbone):
    return f"local-dir:{small_backbone.architecture.folder}"


@pytest.fixture
def delta(small_backbone, header_for, tmp_path):
    """``delta(("nir", "rgb"))``: LoRA that is far from neutral, trained on these modalities; on none: on images. With
    ``each`` every modality has its own."""

    def make(modalities=(), each=False):
        page = find_method("lora")
        method = page(page.Settings(per_modality=each, modalities=modalities if each else ()))
        tuner = method.tuner(small_backbone)
        with torch.no_grad():
            for parameter in tuner.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
        header = header_for(method, small_backbone)
        if modalities:
            header |= {"task": "multimodal", "data": {"modalities": list(modalities)}}
        path = tmp_path / f"{'-'.join(modalities) or 'image'}.safetensors"
        write_delta(path, tuner.tensors(), header)
        return path

    return make


@pytest.fixture
def opened(monkeypatch):
    """Have ``evaluate_dataset`` open this dataset."""

    def use(dataset):
        monkeypatch.setattr(reidtune.evaluation, "open_dataset", lambda source, **options: dataset)
        return dataset

    return use
