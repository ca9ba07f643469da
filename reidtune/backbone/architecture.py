"""Which architecture a name means, whether its towers are supported, and which activation its weights need."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip

from reidtune.errors import SettingsError, did_you_mean

LOCAL_DIR = "local-dir:"
TINY = "tiny"  # the embedded demo backbone
ACTIVATIONS = ("gelu", "quick_gelu")

# What a tower may say about itself and still be walked by ours; any other key must have open_clip's default.
_PLAIN_VISION = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "ls_init_value"}
_PLAIN_VISION |= {"no_ln_pre", "patch_dropout", "output_tokens", "block_type"}
_PLAIN_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "ls_init_value"}
_PLAIN_TEXT |= {"pad_id", "eos_id", "output_tokens", "block_type"}


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
        """Native height and width in pixels."""
        return pair(self.config["vision_cfg"].get("image_size", 224))

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return pair(self.config["vision_cfg"].get("patch_size", 16))


def pair(value: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def find_architecture(name: str) -> Architecture:
    """The architecture called ``name``: an open_clip name, ``tiny``, or ``local-dir:FOLDER``.

    Raises:
        SettingsError: unknown name, a broken folder, or a family whose towers are not supported yet (with the reason).
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
                "ViT-B-16, ViT-B-32, ViT-L-14.",
            )
        config = copy.deepcopy(found)
    if reason := unsupported(config):
        raise SettingsError(
            f'Backbone "{name}" is not supported yet: {reason}.',
            "Supported now are open_clip's plain vision transformers with a causal text tower, such as ViT-B-16, "
            "ViT-B-32, ViT-L-14, ViT-H-14.",
        )
    return Architecture(name, config, preprocess, folder)


def unsupported(config: dict[str, Any]) -> str | None:
    """Why our towers cannot walk this open_clip configuration yet, or ``None`` where they can."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    reasons = [
        ("multimodal_cfg" in config, "CoCa's attention pooling and decoder"),
        (bool(vision.get("timm_model_name")), "an image tower of timm"),
        (isinstance(vision.get("layers"), list | tuple), "a ResNet image tower"),
        (bool(text.get("hf_model_name")), "a text tower of Hugging Face transformers"),
        (bool(text.get("hf_tokenizer_name")), "a Hugging Face tokenizer"),
        (bool(config.get("custom_text")), "a separate text model (custom_text)"),
    ]
    for applies, reason in reasons:
        if applies:
            return reason
    defaults = (open_clip.CLIPVisionCfg(), open_clip.CLIPTextCfg())
    for part, plain, default in zip((vision, text), (_PLAIN_VISION, _PLAIN_TEXT), defaults, strict=True):
        tower = "image" if part is vision else "text"
        for key, value in part.items():
            if key not in plain and value != getattr(default, key, None):
                return f"its {tower} tower has {key} = {value}"
        if part.get("block_type") not in (None, "default"):
            return f"its {tower} tower has custom blocks"
    return None


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
        config["vision_cfg"], config["text_cfg"], config["embed_dim"]
    except FileNotFoundError as error:
        raise SettingsError(
            f"{folder} has no open_clip_config.json, so it is not a model folder.",
            "Give local-dir:FOLDER with open_clip_config.json and a weights file in it.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} cannot be read as an open_clip configuration: {error!r}.") from error
    config.setdefault("quick_gelu", False)  # a folder's own configuration is complete
    return config, preprocess
