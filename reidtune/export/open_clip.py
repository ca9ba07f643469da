"""A merged model folder that plain open_clip loads as ``local-dir:FOLDER``."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from reidtune.backbone.load import Backbone
from reidtune.backbone.text_tower import CLIP_BPE
from reidtune.errors import ReidtuneError, SettingsError
from reidtune.methods.registry import find_method
from reidtune.model import Model

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
_TOLERANCE = 1e-4  # of the largest feature entry; merging only reorders fp32 sums


def export_open_clip(model: Model, output: Path, force: bool = False) -> dict[str, Any]:
    """Merge the model's tuner into its backbone and write the folder ``output``.

    The folder holds ``open_clip_config.json`` (with activation, image size, mean and std, squash) and
    ``open_clip_model.safetensors`` (fp32). Before it appears under its name it is loaded with plain open_clip and its
    features are compared with those of backbone + delta.

    Returns:
        ``{"schema", "path", "bytes", "largest_difference"}``; the difference is relative to the largest entry. Of a
        delta of several modalities also ``modalities``: a sample's feature is those of its images side by side. With
        ``force_image_size`` [height, width], open_clip must be told it: it builds timm's towers for their own size.

    Raises:
        SettingsError: the method cannot be merged into weights, tells modalities apart, ``output`` exists, the backbone
            has no text tower here, or its image tower is timm's and positions for another image size were trained.
        ReidtuneError: the folder cannot be written, or does not give the same features.
    """
    method = model.header.method if model.header else "zero-shot"
    _check_output(output, force)
    backbone = model.backbone
    towers = {"image": backbone.image, "text": backbone.text}
    state = {name: value.detach().cpu().clone() for name, value in model.backbone.model.state_dict().items()}
    if model.cameras is not None:
        raise SettingsError(
            f"This delta has {model.cameras.sentence()}, and plain open_clip knows no cameras: it cannot be merged.",
            "Make it smaller with --to half, or train without settings.camera_embedding.",
        )
    if reason := parts_by_modality(model):
        raise SettingsError(
            f"{reason}, but plain open_clip has one image tower for all images, so it cannot be merged.",
            'Use it through reidtune.load("delta.safetensors").embed_samples(...), make it smaller with --to half, '
            "or train a method that all modalities share and that merges: lora without per_modality, full.",
        )
    if not model.tuner.merge(state, towers):
        raise SettingsError(
            f"The method {method} adds rows or branches that plain open_clip has no place for, so it cannot be merged.",
            'Use it through reidtune.load("delta.safetensors"), or train a method that merges: lora, full.',
        )
    forced = _forced_size(backbone)
    if forced:
        _with_native_positions(state, backbone)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    except OSError as error:
        raise _unwritable(output, error) from error
    try:
        staging.chmod(0o755)
        _write(staging, model, state, forced)
        difference = compare_with_plain(staging, model, forced)
        if difference > _TOLERANCE:
            raise ReidtuneError(
                f"The merged model differs from backbone + delta by {difference:.1e} of the largest entry; "
                "nothing was written.",
                "Please report this with the delta's inspect output.",
            )
        _check_output(output, force)  # again: the comparison may have taken minutes
        if output.exists():
            shutil.rmtree(output)
        staging.rename(output)
    except OSError as error:
        raise _unwritable(output, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    size = sum(file.stat().st_size for file in output.iterdir())
    several = {"modalities": list(model.modalities)} if model.modalities else {}
    sized = {"force_image_size": list(forced)} if forced else {}
    return {"schema": 1, "path": str(output), "bytes": size, "largest_difference": difference, **several, **sized}


def parts_by_modality(model: Model) -> str:
    """What the model's method does differently for each modality, as the beginning of a sentence; empty: nothing."""
    header = model.header
    if header is None or len(model.modalities) < 2:
        return ""
    names = ", ".join(model.modalities)
    if header.settings.get("per_modality"):
        return f"This delta of {header.method} has parts of its own for each of {names} (per_modality)"
    if find_method(header.method).tasks == ("multimodal",):
        return f"The method {header.method} has parts for each of {names}"
    return ""


@torch.no_grad()
def compare_with_plain(folder: Path, model: Model, forced: tuple[int, int] | None = None) -> float:
    """The largest difference, relative to the largest entry, between features of the folder in plain open_clip and of
    ``model``, on seeded random images and two texts (random token ids where the tokenizer is not CLIP's)."""
    plain = open_clip.create_model(f"{open_clip.factory.LOCAL_DIR_PREFIX}{folder}", force_image_size=forced).eval()
    backbone = model.backbone
    size = (backbone.preprocess.height, backbone.preprocess.width)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, *size, generator=generator)
    if backbone.text.tokenizer == CLIP_BPE:
        ids = backbone.tokenizer(["a photo of a person", "a dark coat"])
    else:
        words = backbone.architecture.config["text_cfg"].get("vocab_size", 49408)
        ids = torch.randint(words, (2, backbone.text.context), generator=generator)
    pairs = [
        (plain.encode_image(images, normalize=False), model.encode_images(images).cpu()),
        (plain.encode_text(ids, normalize=False), model.encode_texts(ids).cpu()),
    ]
    return max(float((ours - theirs).abs().max() / ours.abs().max()) for theirs, ours in pairs)


def _forced_size(backbone: Backbone) -> tuple[int, int] | None:
    """The image size that open_clip must be told when it loads the folder, ``None`` where it reads it there."""
    size = (backbone.preprocess.height, backbone.preprocess.width)
    foreign = bool(backbone.architecture.config["vision_cfg"].get("timm_model_name"))
    return size if foreign and size != backbone.architecture.image_size else None


def _with_native_positions(state: dict[str, Tensor], backbone: Backbone) -> None:
    """Put the positions of the tower's own image size into ``state``: open_clip resizes them itself when it is told a
    size."""
    name = backbone.image.positions
    if name is None or backbone.native_positions is None:
        return
    own = backbone.architecture
    if backbone.resize != "bicubic" or not torch.equal(state[name], backbone.model.state_dict()[name].cpu()):
        why = "are trained" if backbone.resize == "bicubic" else f"are resized {backbone.resize}"
        raise SettingsError(
            f"The positions for {backbone.preprocess.height}x{backbone.preprocess.width} pixels {why}, but plain "
            f"open_clip builds this image tower for {own.image_size[0]}x{own.image_size[1]} and resizes them itself, "
            "bicubic, so it cannot be merged.",
            'Use it through reidtune.load("delta.safetensors"), or train a method that leaves positions alone: lora.',
        )
    state[name] = backbone.native_positions.float().clone()


def _write(folder: Path, model: Model, state: dict[str, Tensor], forced: tuple[int, int] | None) -> None:
    from safetensors.torch import save_file

    backbone = model.backbone
    preprocess = backbone.preprocess
    config = copy.deepcopy(backbone.architecture.config)
    config["quick_gelu"] = backbone.activation == "quick_gelu"
    if not forced:
        config["vision_cfg"]["image_size"] = [preprocess.height, preprocess.width]
    if config["vision_cfg"].get("pos_embed_type"):
        config["vision_cfg"]["pos_embed_type"] = "learnable"  # the table is in the weights
    content = {
        "model_cfg": config,
        "preprocess_cfg": {
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "interpolation": preprocess.interpolation,
            "resize_mode": "squash",
        },
    }
    (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors makes it readable by its owner alone


def _check_output(folder: Path, force: bool) -> None:
    """Raise :class:`SettingsError` where ``folder`` exists, or with ``force``, where it is not an earlier export."""
    if not folder.exists():
        return
    if not force:
        raise SettingsError(f"{folder} exists.", "Choose another --output, or add --force to replace it.")
    if not folder.is_dir() or any(file.name not in {CONFIG, WEIGHTS} for file in folder.iterdir()):
        raise SettingsError(
            f"{folder} holds other things than an export, so it is not replaced.", "Choose another --output."
        )


def _unwritable(path: Path, error: OSError) -> ReidtuneError:
    return ReidtuneError(
        f"{path} could not be written: {error.strerror or error}.", "Make room or choose another --output."
    )
