"""Beginning with the values of a delta (``--init-from``): it must be of the same tensors, and mean by them the same."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from reidtune.camera_names import names_for
from reidtune.cameras import cameras_of
from reidtune.config import validate_settings
from reidtune.delta import DeltaHeader, check_backbone, find_delta, read_header, read_tensors
from reidtune.errors import DeltaError, SettingsError
from reidtune.methods.base import EVERYTHING, Method
from reidtune.training.prepare import Prepared

FREE = frozenset(
    {"dropout", "noun", "identities", "matching", "prompt_share", "prompt_lr", "prompt_warmup", "prefix_scale", "start"}
)
"""Settings of methods that say how is trained, or what values the tensors begin with. All others say what the tensors
do: at another ``alpha`` or ``scale`` the same values give other features."""


def take_values(delta: Path, prepared: Prepared) -> None:
    """Load the tensors of ``delta`` into the tuner of ``prepared``.

    Raises:
        SettingsError: no delta, or one of another method, of other cameras, or of settings that mean something else.
        DeltaError: the file is damaged, or was trained on another backbone.
    """
    path = find_delta(delta)
    header = read_header(path)
    method = prepared.method
    if header.method != method.name:
        raise SettingsError(
            f"--init-from {path} is a delta of the method {header.method}, but this run trains {method.name}.",
            f"Use --method {header.method}.",
        )
    try:
        check_backbone(header, prepared.model.backbone.fingerprint)
    except DeltaError as error:
        raise DeltaError(
            f"--init-from {path}: {error.message}",
            "Begin with a delta of this backbone, or train on the one that it was trained on, with the same settings "
            "of [backbone].",
        ) from error
    _check_cameras(path, header, prepared)
    _check_settings(path, header, method)
    prepared.model.tuner.load_tensors(read_tensors(path))


def _check_cameras(path: Path, header: DeltaHeader, prepared: Prepared) -> None:
    settings = prepared.method.settings.model_dump()
    one = cameras_of(header.settings, header.data)
    other = cameras_of(settings, names_for(settings, prepared.dataset))
    if one != other:
        sentences = ["no embeddings of cameras" if found is None else found.sentence() for found in (one, other)]
        raise SettingsError(
            f"--init-from {path} has {sentences[0]}, but this run has {sentences[1]}.",
            "Begin with a delta of the same cameras, or without one.",
        )


def _check_settings(path: Path, header: DeltaHeader, method: Method) -> None:
    """An earlier version may have known fewer settings: what a delta does not say has its default."""
    theirs = validate_settings(method.Settings, header.settings).model_dump(mode="json", context=EVERYTHING)
    ours = method.settings.model_dump(mode="json", context=EVERYTHING)
    keys = [key for key in ours if key not in FREE and theirs.get(key) != ours[key]]
    if keys:
        had, has = (", ".join(f"{key} = {json.dumps(of.get(key))}" for key in keys) for of in (theirs, ours))
        flags = " ".join(shlex.join(["--set", f"settings.{key}={json.dumps(theirs.get(key))}"]) for key in keys)
        raise SettingsError(f"--init-from {path} has {had}, but this run has {has}.", f"Use {flags}, or no delta.")
