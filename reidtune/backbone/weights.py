"""A backbone's weights as a state dict: from a pretrained tag, a file, the embedded demo backbone, or a seed."""

from __future__ import annotations

import contextlib
import os
import socket
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidtune.backbone.architecture import TINY, Architecture
from reidtune.errors import ReidtuneError, SettingsError, did_you_mean

NONE = "none"  # seeded random weights
_RANDOM_SEED = 0
_FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def tag_config(architecture: Architecture, pretrained: str) -> dict[str, Any]:
    """open_clip's entry for a pretrained tag of this architecture; empty where ``pretrained`` is no tag."""
    return dict(open_clip.get_pretrained_cfg(architecture.tag_name, pretrained))


def locate(architecture: Architecture, pretrained: str) -> Path | None:
    """The weights file that ``pretrained`` (tag or file) means; ``None`` for seeded random and embedded weights.

    Raises:
        SettingsError: neither a known tag nor a file.
        ReidtuneError: a tag's weights could not be downloaded.
    """
    own = {"embedded"} if architecture.name == TINY else {"local"} if architecture.folder is not None else set()
    if own and pretrained not in own | {NONE}:
        raise SettingsError(
            f"{architecture.name} brings its own weights, so --pretrained {pretrained} has no place.",
            f"Leave --pretrained out, or say {NONE} for seeded random weights.",
        )
    if pretrained == NONE or architecture.name == TINY:
        return None
    if architecture.folder is not None:
        for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors"):
            if (architecture.folder / name).is_file():
                return architecture.folder / name
        raise SettingsError(f"{architecture.folder} holds no weights (open_clip_model.safetensors).")
    path = Path(pretrained).expanduser()
    if path.is_file():
        return path
    entry = tag_config(architecture, pretrained)
    if not entry:
        tags = open_clip.list_pretrained_tags_by_model(architecture.tag_name)
        if looks_like_file(pretrained):
            raise SettingsError(
                f"The weights file {pretrained} does not exist.", "Check the path given with --pretrained."
            )
        raise SettingsError(
            f'{architecture.name} has no pretrained tag "{pretrained}".{did_you_mean(pretrained, tags)}',
            f"Known tags: {', '.join(tags) or 'none'}; or give a file, or {NONE} for seeded random weights.",
        )
    try:
        with quiet_hub():
            return Path(open_clip.download_pretrained(entry))
    except Exception as error:
        raise ReidtuneError(
            f"The weights {architecture.name}/{pretrained} could not be downloaded ({type(error).__name__}).",
            "Without a connection use --backbone tiny (embedded, for demos), or give the weights with "
            "--pretrained FILE.",
        ) from error


def looks_like_file(pretrained: str) -> bool:
    """Whether ``pretrained`` is meant as a file rather than a tag."""
    return Path(pretrained).suffix in _FILE_SUFFIXES or os.sep in pretrained


@contextlib.contextmanager
def quiet_hub() -> Iterator[None]:
    """Within, the hub's client does not report retries; without a network it looks into its cache and gives up at
    once, where it would try for most of a minute."""
    from huggingface_hub import constants, logging

    before, verbosity = constants.HF_HUB_OFFLINE, logging.get_verbosity()
    logging.set_verbosity(40)  # errors alone
    constants.HF_HUB_OFFLINE = before or not _reachable(urlsplit(constants.ENDPOINT).hostname or "")
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        logging.set_verbosity(verbosity)


def _reachable(host: str) -> bool:
    """Whether the host has an address; behind a proxy that is the proxy's business."""
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def read_state(path: Path) -> dict[str, Tensor]:
    """The parameters of a weights file (safetensors, torch, or OpenAI's TorchScript archive), by open_clip's names.

    Pickles are read with ``weights_only``, which runs nothing. A TorchScript archive may contain a program that
    torch runs while loading it: take such files only from where you would take a program.

    Raises:
        SettingsError: the file cannot be read as a state dict.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = _read_torch(path)
        state = {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}
        state = lasting(state)
    except SettingsError:
        raise
    except Exception as error:
        raise SettingsError(f"{path} cannot be read as model weights: {error}") from error
    for buffer in ("input_resolution", "context_length", "vocab_size", "attn_mask"):
        state.pop(buffer, None)
    return state


def _read_torch(path: Path) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that a TorchScript archive is one
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as failure:
            try:
                content = torch.jit.load(str(path), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
            except Exception:
                raise failure from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds a {type(content).__name__}, not a state dict.")
    return content


def random_state(architecture: Architecture, activation: str) -> dict[str, Tensor]:
    """open_clip's own initialisation under a fixed seed."""
    model = build(architecture, activation, architecture.image_size)
    return lasting({name: value.detach() for name, value in model.state_dict().items()})


def lasting(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What makes the function of a state dict's tensors: not how many batches a BatchNorm has seen."""
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


class ImageOnly(nn.Module):
    """The image tower of an open_clip model whose text tower is not used."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        """Images [B, 3, H, W] → features [B, D]."""
        outputs = self.visual(images)
        features: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
        return F.normalize(features, dim=-1) if normalize else features


def build(architecture: Architecture, activation: str, image_size: tuple[int, int]) -> nn.Module:
    """A plain open_clip model for this image size, with open_clip's own initial values under a fixed seed; the
    caller's random state is left as it was. :class:`ImageOnly` where the text tower is not supported."""
    config = architecture.config
    vision = {**config["vision_cfg"], "image_size": list(image_size), "patch_dropout": 0.0}
    vision["timm_model_pretrained"] = False  # open_clip would download weights of another training
    if vision.get("pos_embed_type") == "sin_cos_2d" and image_size[0] != image_size[1]:
        vision["pos_embed_type"] = "learnable"  # the table is loaded anyway; open_clip computes square ones alone
    known = {
        key: config[key]
        for key in ("init_logit_scale", "init_logit_bias", "nonscalar_logit_scale", "multimodal_cfg")
        if key in config
    }
    text, kind = dict(config["text_cfg"]), open_clip.CLIP
    if architecture.text_reason:
        known, text = {}, {"layers": 1, "width": 8, "heads": 1, "vocab_size": 1, "context_length": 1}
    elif "multimodal_cfg" in config:
        kind = open_clip.CoCa
    elif config.get("custom_text"):
        kind = open_clip.CustomTextCLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_RANDOM_SEED)
        model = kind(
            embed_dim=config["embed_dim"],
            vision_cfg=vision,
            text_cfg=text,
            quick_gelu=activation == "quick_gelu",
            **known,
        )
        if vision.get("timm_model_name"):
            _resize_trunk(model.visual, image_size)
    return ImageOnly(model.visual) if architecture.text_reason else model


def _resize_trunk(visual: Any, image_size: tuple[int, int]) -> None:
    """timm builds a model for its own image size, whatever open_clip's configuration says."""
    if tuple(visual.trunk.patch_embed.img_size) != image_size:
        visual.set_input_size(image_size)
