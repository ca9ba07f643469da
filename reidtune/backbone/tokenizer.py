"""Texts as token ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
from torch import Tensor

from reidtune.backbone.architecture import Architecture
from reidtune.backbone.text_tower import CLIP_BPE
from reidtune.backbone.weights import quiet_hub
from reidtune.errors import ReidtuneError, SettingsError

Tokenizer = Callable[[list[str]], Tensor]


def find_tokenizer(architecture: Architecture, context: int) -> Tokenizer:
    """The tokenizer of an architecture: texts → ids [N, ``context``].

    CLIP's own comes with open_clip. Others lie in the model folder (``tokenizer*``) or on the Hugging Face hub, from
    where they are downloaded once (``HF_HOME`` says where to), and need the package transformers.

    Raises:
        SettingsError: transformers is missing.
        ReidtuneError: the tokenizer is not in the cache and could not be downloaded.
    """
    name, text = architecture.tokenizer, architecture.config["text_cfg"]
    options: dict[str, Any] = dict(text.get("tokenizer_kwargs") or {})
    if name == CLIP_BPE:
        own: Tokenizer = open_clip.SimpleTokenizer(context_length=context, **options)
        return own
    folder = architecture.folder
    source = str(folder) if folder is not None and any(folder.glob("tokenizer*")) else name
    if mode := text.get("tokenizer_mode"):
        options["tokenizer_mode"] = mode
    try:
        with quiet_hub():
            found: Tokenizer = open_clip.tokenizer.HFTokenizer(source, context_length=context, **options)
    except ImportError as error:
        raise SettingsError(
            f"Texts of {architecture.name} need the tokenizer {name}, which needs a package that is missing: {error}.",
            "Install it: pip install 'reidtune[hf]'. Its image tower works without.",
        ) from error
    except Exception as error:
        raise ReidtuneError(
            f"The tokenizer {name} of {architecture.name} could not be downloaded ({type(error).__name__}).",
            "Its image tower works without. For texts, copy its files into the Hugging Face cache (HF_HOME).",
        ) from error
    return found
