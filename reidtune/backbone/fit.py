"""Weights as a model needs them: renamed where they come from elsewhere, positions resized, everything checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from open_clip.convert import convert_state_dict
from torch import Tensor, nn

from reidtune.backbone.architecture import Architecture
from reidtune.backbone.image_tower import ImageTower
from reidtune.backbone.positions import resize_positions
from reidtune.backbone.weights import lasting
from reidtune.errors import DeltaError, SettingsError

_MAX_DIFFERENCES = 3
_TEXT_PARTS = ("text_projection", "positional_embedding", "token_embedding.", "transformer.", "ln_final.")


def renamed(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The same weights by the names of ``model``: of MobileCLIP's own files, and of files from before the text tower
    had a module of its own."""
    state = convert_state_dict(model, state)
    if hasattr(model, "text") and "positional_embedding" in state:
        state = {f"text.{name}" if name.startswith(_TEXT_PARTS) else name: value for name, value in state.items()}
    return state


def fit(
    state: dict[str, Tensor],
    model: nn.Module,
    tower: ImageTower,
    architecture: Architecture,
    resize: str,
    source: Path,
) -> dict[str, Tensor]:
    """The state dict for ``model``, whose image tower is ``tower``: positions resized to its grid (``resize`` says
    how), everything fp32, names and shapes checked.

    Raises:
        DeltaError: the weights are not those of this architecture; the first differences are named.
        SettingsError: the grid of the positions cannot be told.
    """
    wanted: dict[str, Any] = lasting(dict(model.state_dict()))
    values = {name: value.float() for name, value in state.items()}
    for scalar in ("logit_scale", "logit_bias"):
        if scalar in values and scalar in wanted:
            values[scalar] = values[scalar].reshape(wanted[scalar].shape)
        elif scalar in wanted:
            values[scalar] = wanted[scalar].detach()
        values = {name: value for name, value in values.items() if name != scalar or scalar in wanted}
    if tower.positions in values:
        table = values[tower.positions]
        own = _source_grid(table, tower, architecture, source)
        resized = resize_positions(table.flatten(0, -2), own, tower.grid, resize, tower.position_rows)
        values[tower.positions] = resized.view(*table.shape[:-2], *resized.shape)
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


def _source_grid(table: Tensor, tower: ImageTower, architecture: Architecture, source: Path) -> tuple[int, int]:
    """The grid (h, w) that positions [.., rows, d] come from: the architecture's own, or a square one."""
    native = architecture.image_size
    own = native[0] // tower.patch[0], native[1] // tower.patch[1]
    count = table.shape[-2] - tower.position_rows
    if count == own[0] * own[1]:
        return own
    side = round(count**0.5)
    if side * side != count:
        raise SettingsError(
            f"{source} has {count} positions, but {architecture.name} is for {own[0]}x{own[1]} patches, and "
            "the grid they come from cannot be told.",
            "Use a folder with its own open_clip_config.json (local-dir:FOLDER).",
        )
    return side, side
