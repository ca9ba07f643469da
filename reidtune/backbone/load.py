"""Loading a frozen backbone: architecture, weights, image size, towers, preprocessing, fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from reidtune.backbone.architecture import TINY, Architecture, find_architecture, resolve_activation
from reidtune.backbone.families import image_tower, text_tower
from reidtune.backbone.fingerprint import file_tensor_hashes, fingerprint, tensor_hashes
from reidtune.backbone.fit import fit, renamed
from reidtune.backbone.image_tower import ImageTower
from reidtune.backbone.open_clip_tower import OpenClipTower
from reidtune.backbone.positions import KINDS
from reidtune.backbone.preprocess import Preprocess, own_preprocess
from reidtune.backbone.text_tower import TextTower
from reidtune.backbone.tokenizer import find_tokenizer
from reidtune.backbone.weights import NONE, build, locate, random_state, read_state, tag_config
from reidtune.errors import SettingsError


class Backbone:
    """A frozen open_clip model with its towers, preprocessing and fingerprint.

    ``model`` is plain open_clip, built for the wanted image size, in evaluation mode and without gradients.
    """

    def __init__(
        self,
        architecture: Architecture,
        pretrained: str,
        activation: str,
        model: nn.Module,
        image: ImageTower,
        preprocess: Preprocess,
        resize: str,
        hashes: dict[str, str],
        native_positions: Tensor | None = None,
    ) -> None:
        self.architecture = architecture
        self.name = architecture.name
        self.pretrained = pretrained
        self.activation = activation
        self.model: Any = model.eval().requires_grad_(False)
        self.image = image
        self.preprocess = preprocess
        self.resize = resize
        self.native_positions = native_positions
        self._hashes = hashes
        self._text = None if architecture.text_reason else text_tower(model, architecture)

    @property
    def text(self) -> TextTower:
        """The text tower.

        Raises:
            SettingsError: this architecture's is not supported; the reason is named.
        """
        if self._text is None:
            raise SettingsError(
                f"The backbone {self.name} has no text tower here: {self.architecture.text_reason}.",
                "It serves image data; for texts choose another one: reidtune backbones --supported",
            )
        return self._text

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    def to(self, device: torch.device | str) -> Backbone:
        self.model.to(device)
        return self

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @cached_property
    def tokenizer(self) -> Callable[[list[str]], Tensor]:
        """Texts → token ids [N, context]: CLIP's own byte-pair encoding, over-long texts keep their end token; or what
        the architecture names on the Hugging Face hub.

        Raises:
            SettingsError: no text tower, or the package transformers is missing.
            ReidtuneError: the tokenizer could not be downloaded.
        """
        return find_tokenizer(self.architecture, self.text.context)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Hashes of the weights before any resize, and every switch that changes the function."""
        text = self._text
        switches: dict[str, Any] = {
            "activation": self.activation,
            "image_size": [self.preprocess.height, self.preprocess.width],
            "positional_resize": self.resize,
            "mean": list(self.preprocess.mean),
            "std": list(self.preprocess.std),
            "interpolation": self.preprocess.interpolation,
            "tokenizer": None if text is None else text.tokenizer,
            "context_length": None if text is None else text.context,
            "pooling": f"{self.image.pooling}/{'none' if text is None else text.pooled_row}",
            "heads": [self.image.heads, *([] if text is None else [text.heads])],
        }
        if switches["pooling"] != "cls/eos" or self.image.family != OpenClipTower.family or (text and not text.causal):
            switches["towers"] = [tower.variant() for tower in (self.image, text) if tower is not None]
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
    _check_size(size, architecture)

    path = locate(architecture, pretrained)
    read = None if path is None else read_state(path)  # a file that is no model is said before its activation is asked
    entry = {} if path is None or path == Path(pretrained) else tag_config(architecture, pretrained)
    chosen = resolve_activation(architecture, entry, path is not None, activation)
    if path is None or read is None:
        if architecture.name == TINY and pretrained != NONE:
            from reidtune.demo.tiny import tiny_state_dict

            state = tiny_state_dict()
        else:
            state = random_state(architecture, chosen)
        hashes = tensor_hashes(state)
    else:
        state = {key: value for key, value in read.items() if not architecture.text_reason or key.startswith("visual.")}
        del read
        hashes = file_tensor_hashes(path, state)

    model = build(architecture, chosen, size)
    image = image_tower(model, architecture, size)
    source = path or Path(pretrained)
    state = renamed(state, model)
    native = state.get(image.positions or "")
    model.load_state_dict(fit(state, model, image, architecture, resize, source), strict=False)
    own = own_preprocess(architecture, entry, size)
    return Backbone(architecture, pretrained, chosen, model, image, preprocess or own, resize, hashes, native).to(
        device
    )


def check_choice(name: str, pretrained: str | None = None, image_size: tuple[int, int] | None = None) -> None:
    """What :func:`load_backbone` raises of an architecture and its image size, before weights are looked for."""
    architecture = find_architecture(name)
    if pretrained is None:
        _default_pretrained(architecture)
    _check_size(image_size or architecture.image_size, architecture)


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


def _check_size(size: tuple[int, int], architecture: Architecture) -> None:
    patch = architecture.patch
    if size == architecture.image_size:
        return  # what does not fill a patch is left out, as in training
    if min(size) < 1 or size[0] % patch[0] or size[1] % patch[1]:
        raise SettingsError(
            f"Image size {size[0]}x{size[1]} (height x width) does not divide into patches of {patch[0]}x{patch[1]}.",
            "Choose multiples of the patch size.",
        )
