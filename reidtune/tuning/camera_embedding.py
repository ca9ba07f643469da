"""Side information embedding (SIE): a learned vector of an image's camera, added to its rows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from reidtune.backbone.tower import Tower
from reidtune.backbone.walk import Walk
from reidtune.cameras import KNOWN, NONE, Cameras, listed, unknown_cameras
from reidtune.errors import SettingsError
from reidtune.tuning.component import Component


class CameraEmbedding(Component):
    """rows + scale · S[camera] before the positions are added (TransReID, He et al. 2021, arXiv 2102.04378, Eq. 5).

    ``rows`` says which rows get it: ``all``, as in TransReID, or the ``class`` row alone, as in the public code of
    CLIP-ReID and its family. S [cameras, d] starts at a truncated N(0, 0.02).

    Attributes: ``use``, one of :data:`reidtune.cameras.USES`; only ``known`` was trained.

    Raises:
        SettingsError: no cameras, or a tower without a class row for ``rows`` ``class``. While embedding: the camera of
            an image is not known, or is none of those.
    """

    places: Tensor

    def __init__(self, tower: Tower, cameras: Cameras, scale: float, rows: Literal["all", "class"]) -> None:
        super().__init__()
        if not cameras.places:
            raise SettingsError("settings.cameras is empty.", "Training fills it in from the data.")
        if rows == "class" and not any(name.endswith(("class_embedding", "cls_token")) for name in tower.names()):
            raise SettingsError(
                "settings.camera_rows is class, but this backbone has no class row.", 'Set it to "all".'
            )
        self.cameras = cameras
        self.scale = scale
        self.class_row = rows == "class"
        self.use = KNOWN
        self.rows = nn.Parameter(torch.empty(len(cameras.places), tower.width))
        nn.init.trunc_normal_(self.rows, std=0.02)
        self.register_buffer("places", torch.tensor(sorted(cameras.places)), persistent=False)

    def embed(self, walk: Walk, place: str, tokens: Tensor) -> Tensor:
        if place != "before_positions" or self.use == NONE:
            return tokens
        rows = self.rows[self._indices(walk)] if self.use == KNOWN else self.rows.mean(0, keepdim=True)
        added = (self.scale * rows[:, None]).to(tokens.dtype)
        if self.class_row:
            return torch.cat([tokens[:, :1] + added, tokens[:, 1:]], dim=1)
        return tokens + added

    def _indices(self, walk: Walk) -> Tensor:
        given = walk.cameras if self.cameras.kind == "camera" else walk.scenes
        if given is None:
            raise unknown_cameras(self.cameras)
        indices = torch.searchsorted(self.places, given).clamp(max=len(self.places) - 1)
        others = sorted(set(given[self.places[indices] != given].tolist()))
        if others:
            raise SettingsError(
                f"The delta has {self.cameras.sentence()}, but an image is of {listed(others)}.",
                "Give images of these, or leave the embeddings out: --cameras mean or none.",
            )
        return indices
