"""Fixtures that several rooms share. No test reaches the network or writes outside its temporary folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the test run's own, shared by its subprocesses."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("REIDTUNE_CACHE")
    os.environ["REIDTUNE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["REIDTUNE_CACHE"]
    else:
        os.environ["REIDTUNE_CACHE"] = before


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, which is not there yet."""
    monkeypatch.setenv("REIDTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def golden() -> Path:
    """The folder of reference numbers; each file has a .json beside it that explains it."""
    return GOLDEN


@pytest.fixture(scope="session")
def small_backbone(tmp_path_factory: pytest.TempPathFactory):
    """Seeded random CLIP of two image blocks and two text blocks, 32×16 pixels, in no layer at its initial values."""
    import json

    import open_clip
    import torch
    from safetensors.torch import save_file

    from reidtune.backbone.load import load_backbone

    config = {
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": {"image_size": [32, 16], "layers": 2, "width": 32, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    folder = tmp_path_factory.mktemp("small")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = open_clip.CLIP(**config)
        state = {name: value + 0.05 * torch.randn_like(value) for name, value in model.named_parameters()}
    save_file(
        {name: value.detach().contiguous() for name, value in state.items()}, folder / "open_clip_model.safetensors"
    )
    return load_backbone(f"local-dir:{folder}")


@pytest.fixture(scope="session")
def vit_b_16():
    """ViT-B/16 with seeded random weights at 256×128, for counting."""
    from reidtune.backbone.load import load_backbone

    return load_backbone("ViT-B-16", "none", image_size=(256, 128))


@pytest.fixture
def header_for():
    """A delta header for a method on a backbone, as training writes it."""

    def make(method, backbone):
        return {
            "method": method.name,
            "settings": method.settings.model_dump(mode="json"),
            "backbone": backbone.describe(),
            "preprocess": backbone.preprocess.to_json(),
            "task": method.tasks[0],
            "protocol": "cross-modality" if method.tasks[0] == "text" else "cross-camera",
            "data": {},
            "metrics": {},
        }

    return make


@pytest.fixture(scope="session")
def training_server():
    """A process of its own that trains in further ones, which may be killed; see tests/training/killing.py."""
    from tests.training.killing import Server

    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image part of a demo world of 12 people, in Market-1501's layout."""
    from reidtune.demo.world import render_world

    folder = tmp_path_factory.mktemp("world")
    render_world(folder, identities=12, kinds=("image",))
    return folder / "image"


@pytest.fixture(scope="session")
def spectral_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The multi-modal part of a demo world of 12 people, in RGBNT201's layout."""
    from reidtune.demo.world import render_world

    folder = tmp_path_factory.mktemp("spectral-world")
    render_world(folder, identities=12, kinds=("multimodal",))
    return folder / "multimodal"


@pytest.fixture
def multimodal_delta(small_backbone, header_for, tmp_path):
    """``make(name, modalities, **settings)``: the file of a delta of samples on the small backbone, in no part at its
    initial values."""
    import torch

    from reidtune.delta import write_delta
    from reidtune.methods.registry import find_method

    def make(name="lora", modalities=("rgb", "nir", "tir"), **settings):
        page = find_method(name)
        if page.tasks == ("multimodal",) or settings.get("per_modality"):
            settings["modalities"] = modalities  # training fills it in
        method = page(page.Settings(**settings))
        tuner = method.tuner(small_backbone)
        with torch.no_grad():
            for parameter in tuner.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        header = header_for(method, small_backbone)
        path = tmp_path / f"{name}-{'-'.join(modalities)}.safetensors"
        data = {"modalities": list(modalities)}
        write_delta(path, tuner.tensors(), {**header, "task": "multimodal", "data": data})
        return path

    return make
