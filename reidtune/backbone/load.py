"""Loading a frozen backbone: architecture, weights, image size, towers, preprocessing, fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from reidtune.backbone.architecture import TINY, Architecture, find_architecture, resolve_activation
from reidtune.backbone.fingerprint import file_tensor_hashes, fingerprint, tensor_hashes
from reidtune.backbone.positions import KINDS, resize_positions
from reidtune.backbone.preprocess import Preprocess
from reidtune.backbone.tower import ImageTower, TextTower
from reidtune.backbone.weights import NONE, build, locate, random_state, read_state, tag_config
from reidtune.errors import DeltaError, SettingsError

_POSITIONS = "visual.positional_embedding"
_MAX_DIFFERENCES = 3


class Backbone:
    """A frozen open_clip model with its towers, preprocessing and fingerprint.

    ``model`` is plain open_clip, built for the wanted image size, in evaluation mode and without gradients.
    """

    def __init__(
        self,
        architecture: Architecture,
        pretrained: str,
        activation: str,
        model: open_clip.CLIP,
        preprocess: Preprocess,
        resize: str,
        hashes: dict[str, str],
    ) -> None:
        self.architecture = architecture
        self.name = architecture.name
        self.pretrained = pretrained
        self.activation = activation
        self.model = model.eval().requires_grad_(False)
        self.preprocess = preprocess
        self.resize = resize
        self._hashes = hashes
        vision, text = architecture.config["vision_cfg"], architecture.config["text_cfg"]
        width: int = architecture.config["embed_dim"]
        self.image = ImageTower(
            model,
            {
                "width": vision["width"],
                "layers": vision["layers"],
                "heads": vision["width"] // vision.get("head_width", 64),
                "patch": architecture.patch,
                "grid": grid((preprocess.height, preprocess.width), architecture.patch),
            },
            width,
        )
        self.text = TextTower(
            model,
            {
                "width": text["width"],
                "layers": text["layers"],
                "heads": text["heads"],
                "context": text.get("context_length", 77),
            },
            width,
        )

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.logit_scale.device
        return device

    def to(self, device: torch.device | str) -> Backbone:
        self.model.to(device)
        return self

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @cached_property
    def tokenizer(self) -> Callable[[list[str]], Tensor]:
        """Texts → token ids [N, context]: CLIP's own byte-pair encoding; over-long texts keep their end token."""
        tokenizer: Callable[[list[str]], Tensor] = open_clip.SimpleTokenizer(context_length=self.text.context)
        return tokenizer

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Hashes of the weights before any resize, and every switch that changes the function."""
        switches = {
            "activation": self.activation,
            "image_size": [self.preprocess.height, self.preprocess.width],
            "positional_resize": self.resize,
            "mean": list(self.preprocess.mean),
            "std": list(self.preprocess.std),
            "interpolation": self.preprocess.interpolation,
            "tokenizer": "clip-bpe",
            "context_length": self.text.context,
            "pooling": "cls/eos",
            "heads": [self.image.heads, self.text.heads],
        }
        return fingerprint(self._hashes, switches)

    def describe(self) -> dict[str, Any]:
        """``{"name", "pretrained", "fingerprint"}`` for a delta's header; a file goes by its name, not its path."""
        pretrained = Path(self.pretrained).name if Path(self.pretrained).is_file() else self.pretrained
        name = self.name if self.architecture.folder is None else f"local-dir:{self.architecture.folder.name}"
        return {"name": name, "pretrained": pretrained, "fingerprint": self.fingerprint}


def load_backbone(
    name: str,
    pretrained: str | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    preprocess: Preprocess | None = None,
    resize: str = "bicubic",
    activation: str | None = None,
    device: torch.device | str = "cpu",
) -> Backbone:
    """Load a backbone.

    Args:
        name: an open_clip name, ``tiny`` (embedded) or ``local-dir:FOLDER``.
        pretrained: a tag, a weights file, or ``none`` for seeded random weights. Default: ``openai`` where the
            architecture has that tag; not needed for ``tiny`` and ``local-dir:``.
        image_size: height and width in pixels; default: the architecture's own.
        preprocess: the whole preprocessing, as a delta records it, in place of ``image_size`` and the weights' own.
        resize: how positional embeddings are resized, ``bicubic`` (open_clip) or ``bilinear`` (IRRA's family).
        activation: ``gelu`` or ``quick_gelu``, only needed where a file does not tell.

    Raises:
        SettingsError: unknown or unsupported names, files that do not exist, an image size the patches do not divide.
        DeltaError: the weights file does not hold this architecture's tensors (the first ones are named).
        ReidtuneError: the weights could not be downloaded.
    """
    architecture = find_architecture(name)
    if pretrained is None:
        pretrained = _default_pretrained(architecture)
    if resize not in KINDS:
        raise SettingsError(f'Unknown positional resize "{resize}".', f"Choose one of {', '.join(KINDS)}.")
    size = (preprocess.height, preprocess.width) if preprocess else image_size or architecture.image_size
    _check_size(size, architecture.patch)

    path = locate(architecture, pretrained)
    entry = {} if path is None or path == Path(pretrained) else tag_config(architecture, pretrained)
    chosen = resolve_activation(architecture, entry, path is not None, activation)
    if path is not None:
        state = read_state(path)
        hashes = file_tensor_hashes(path, state)
    else:
        if architecture.name == TINY and pretrained != NONE:
            from reidtune.demo.tiny import tiny_state_dict

            state = tiny_state_dict()
        else:
            state = random_state(architecture, chosen)
        hashes = tensor_hashes(state)

    model = build(architecture, chosen, size)
    values = _fit(state, model, architecture, size, resize, path or Path(pretrained))
    model.load_state_dict(values)
    statistics = {**architecture.preprocess, **entry}
    own = Preprocess(
        height=size[0],
        width=size[1],
        mean=tuple(statistics.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        std=tuple(statistics.get("std") or open_clip.OPENAI_DATASET_STD),
        interpolation=statistics.get("interpolation") or "bicubic",
    )
    return Backbone(architecture, pretrained, chosen, model, preprocess or own, resize, hashes).to(device)


def grid(size: tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    """Patches down and across."""
    return size[0] // patch[0], size[1] // patch[1]


def _default_pretrained(architecture: Architecture) -> str:
    if architecture.name == TINY or architecture.folder is not None:
        return "embedded" if architecture.folder is None else "local"
    if tag_config(architecture, "openai"):
        return "openai"
    tags = open_clip.list_pretrained_tags_by_model(architecture.tag_name)
    raise SettingsError(
        f"{architecture.name} has no openai weights; say which ones to use.",
        f"Add --pretrained with one of {', '.join(tags)}, a file, or none."
        if tags
        else "Add --pretrained FILE or none.",
    )


def _check_size(size: tuple[int, int], patch: tuple[int, int]) -> None:
    if min(size) < 1 or size[0] % patch[0] or size[1] % patch[1]:
        raise SettingsError(
            f"Image size {size[0]}x{size[1]} (height x width) does not divide into patches of {patch[0]}x{patch[1]}.",
            "Choose multiples of the patch size.",
        )


def _fit(
    state: dict[str, Tensor],
    model: open_clip.CLIP,
    architecture: Architecture,
    size: tuple[int, int],
    resize: str,
    source: Path,
) -> dict[str, Tensor]:
    """The state dict for ``model``: positions resized, everything fp32, names and shapes checked."""
    wanted = dict(model.named_parameters())
    values = {name: value.float() for name, value in state.items()}
    for scalar in ("logit_scale", "logit_bias"):
        if scalar in values and scalar in wanted:
            values[scalar] = values[scalar].reshape(wanted[scalar].shape)
        elif scalar in wanted:
            values[scalar] = wanted[scalar].detach()
        values = {name: value for name, value in values.items() if name != scalar or scalar in wanted}
    if _POSITIONS in values:
        own = grid(architecture.image_size, architecture.patch)
        count = len(values[_POSITIONS]) - 1
        if count != own[0] * own[1]:
            side = round(count**0.5)
            if side * side != count:
                raise SettingsError(
                    f"{source} has {count} positions, but {architecture.name} is for {own[0]}x{own[1]} patches, and "
                    "the grid they come from cannot be told.",
                    "Use a folder with its own open_clip_config.json (local-dir:FOLDER).",
                )
            own = (side, side)
        values[_POSITIONS] = resize_positions(values[_POSITIONS], own, grid(size, architecture.patch), resize)
    problems = [f"{name} is missing" for name in wanted if name not in values]
    problems += [f"{name} is not part of it" for name in values if name not in wanted]
    problems += [
        f"{name} has shape {tuple(values[name].shape)}, expected {tuple(parameter.shape)}"
        for name, parameter in wanted.items()
        if name in values and values[name].shape != parameter.shape
    ]
    if problems:
        more = f", and {len(problems) - _MAX_DIFFERENCES} more" if len(problems) > _MAX_DIFFERENCES else ""
        raise DeltaError(
            f"The weights {source} do not fit {architecture.name}: {'; '.join(problems[:_MAX_DIFFERENCES])}{more}.",
            "Check --backbone and --pretrained.",
        )
    return values
