"""Which architecture a name means, whether its towers are supported, and which activation its weights need."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip

from reidtune.backbone.support import image_reason, text_reason, timm_native
from reidtune.backbone.text_tower import CLIP_BPE
from reidtune.errors import SettingsError, did_you_mean

LOCAL_DIR = "local-dir:"
TINY = "tiny"  # the embedded demo backbone
ACTIVATIONS = ("gelu", "quick_gelu")


@dataclass(frozen=True)
class Architecture:
    """An open_clip model configuration, and where it came from.

    ``config`` holds open_clip's keys (``embed_dim``, ``vision_cfg``, ``text_cfg``, ``quick_gelu``); ``preprocess`` has
    ``mean``, ``std`` and ``interpolation`` where the source gives them; ``folder`` is set for ``local-dir:``.
    """

    name: str
    config: dict[str, Any]
    preprocess: dict[str, Any]
    folder: Path | None = None

    @property
    def tag_name(self) -> str:
        """The name as open_clip lists pretrained tags for it; ``ViT-B/16`` and ``ViT-B-16`` are one."""
        return self.name.replace("/", "-")

    @property
    def image_size(self) -> tuple[int, int]:
        """Native height and width in pixels. Of a tower of timm they are timm's: open_clip's configuration does not
        change what it builds, and is wrong for ViTamin-XL-384."""
        vision = self.config["vision_cfg"]
        if (name := vision.get("timm_model_name")) and not image_reason(self.config):
            return timm_native(name)[0]
        return pair(vision.get("image_size", 224))

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        vision = self.config["vision_cfg"]
        if name := vision.get("timm_model_name"):
            return timm_native(name)[1]
        return pair(vision.get("patch_size", 16))

    @property
    def text_reason(self) -> str:
        """Why the text tower cannot be used; empty where it can."""
        return text_reason(self.config)

    @property
    def tokenizer(self) -> str:
        """``clip-bpe``, or the name of a tokenizer on the Hugging Face hub."""
        return self.config["text_cfg"].get("hf_tokenizer_name") or CLIP_BPE


def pair(value: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def find_architecture(name: str) -> Architecture:
    """The architecture called ``name``: an open_clip name, ``tiny``, or ``local-dir:FOLDER``.

    Raises:
        SettingsError: unknown name, a broken folder, or an image tower that is not supported (with the reason). Without
            a text tower (see ``text_reason``) an architecture serves image tasks.
    """
    folder = None
    preprocess: dict[str, Any] = {}
    if name == TINY:
        from reidtune.demo.tiny import TINY_CONFIG, TINY_MEAN, TINY_STD

        config = copy.deepcopy(TINY_CONFIG)
        preprocess = {"mean": TINY_MEAN, "std": TINY_STD}
    elif name.startswith(LOCAL_DIR):
        folder = Path(name.removeprefix(LOCAL_DIR)).expanduser()
        config, preprocess = _read_local_config(folder)
    else:
        found = open_clip.get_model_config(name.replace("/", "-"))
        if found is None:
            names = [TINY, *open_clip.list_models()]
            raise SettingsError(
                f'Unknown backbone "{name}".{did_you_mean(name, names)}',
                f'Known are "{TINY}" (embedded, for demos and tests), local-dir:FOLDER, and open_clip\'s names such as '
                "ViT-B-16, ViT-B-32, ViT-L-14; see: reidtune backbones",
            )
        config = copy.deepcopy(found)
    if reason := image_reason(config):
        raise SettingsError(
            f'Backbone "{name}" is not supported: {reason}.',
            "Vision transformers are; see: reidtune backbones --supported",
        )
    return Architecture(name, config, preprocess, folder)


def resolve_activation(architecture: Architecture, tag_config: dict[str, Any], file: bool, asked: str | None) -> str:
    """``gelu`` or ``quick_gelu``: what the weights were trained with.

    A flag decides first, then the tag (``openai`` tags need QuickGELU although the configuration of ViT-B-16 says
    GELU), then the source's own configuration. A file given for a name that exists with both activations is
    ambiguous, and a wrong activation only shows as bad numbers.

    Raises:
        SettingsError: the activation of a local file cannot be told.
    """
    if asked is not None:
        if asked not in ACTIVATIONS:
            raise SettingsError(f'Unknown activation "{asked}".', f"Choose one of {', '.join(ACTIVATIONS)}.")
        parts = (architecture.config["vision_cfg"], architecture.config["text_cfg"])
        if asked == "quick_gelu" and any(part.get("act_kwargs") for part in parts):
            raise SettingsError(f"{architecture.name} is a GELU model, so it has no weights with quick_gelu.")
        return asked
    name, config = architecture.tag_name, architecture.config
    if tag_config:
        return "quick_gelu" if tag_config.get("quick_gelu", config.get("quick_gelu", False)) else "gelu"
    if file and "quick_gelu" not in config:
        tags = open_clip.list_pretrained_tags_by_model(name)
        if any(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu") for tag in tags):
            raise SettingsError(
                f"Cannot tell the activation of the weights given for {name}: it exists with GELU and with QuickGELU.",
                "Add --activation quick_gelu (OpenAI's, DFN's, MetaCLIP's weights) or --activation gelu (most others).",
            )
    return "quick_gelu" if config.get("quick_gelu", False) else "gelu"


def _read_local_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    path = folder / "open_clip_config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config, preprocess = content["model_cfg"], content.get("preprocess_cfg", {})
        config["vision_cfg"], config["text_cfg"], config["embed_dim"]  # there, or no configuration
    except FileNotFoundError as error:
        raise SettingsError(
            f"{folder} has no open_clip_config.json, so it is not a model folder.",
            "Give local-dir:FOLDER with open_clip_config.json and a weights file in it.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} cannot be read as an open_clip configuration: {error!r}.") from error
    config.setdefault("quick_gelu", False)  # a folder's own configuration is complete
    return config, preprocess
