"""Protocols: what is ignored when a gallery is ranked for a query."""

from __future__ import annotations

from torch import Tensor

from reidtune.errors import SettingsError, did_you_mean

CROSS_CAMERA = "cross-camera"
CROSS_SCENE = "cross-scene"
ALL = "all"
LEAVE_ONE_OUT = "leave-one-out"
RANDOM_GALLERY = "random-gallery"
CROSS_MODALITY = "cross-modality"

PROTOCOLS = {
    CROSS_CAMERA: "gallery images of the query's identity and camera are ignored (the Market-1501 rule)",
    CROSS_SCENE: "gallery images of the query's identity and scene are ignored (the MSVR310 rule)",
    ALL: "nothing is ignored",
    LEAVE_ONE_OUT: "query and gallery are one set; only the query image itself is ignored",
    RANDOM_GALLERY: "of one set, a random image of each identity is the gallery and the others are queries; the mean "
    "of 10 draws (the VehicleID rule)",
    CROSS_MODALITY: "every caption is a query, every image counts (nothing is ignored, whatever its camera)",
}


def check_protocol(name: str) -> None:
    """Raise :class:`SettingsError` unless ``name`` is a protocol."""
    if name not in PROTOCOLS:
        raise SettingsError(
            f'Unknown protocol "{name}".{did_you_mean(name, PROTOCOLS)}', f"Known protocols: {', '.join(PROTOCOLS)}."
        )


def needs_places(name: str) -> bool:
    """Whether the protocol reads cameras (or scenes)."""
    return name in (CROSS_CAMERA, CROSS_SCENE)


def ignored(
    name: str,
    query_ids: Tensor,
    gallery_ids: Tensor,
    query_places: Tensor | None,
    gallery_places: Tensor | None,
    query_rows: Tensor,
    gallery_rows: Tensor,
) -> Tensor | None:
    """Boolean [Q, G]: which gallery items do not count for which query; ``None`` where all do.

    ``*_ids`` are identities, ``*_places`` cameras or scenes, ``*_rows`` the places of the items in the inputs, all
    int64, [Q] or [G].
    """
    if name in (ALL, CROSS_MODALITY, RANDOM_GALLERY):
        return None
    if name == LEAVE_ONE_OUT:
        return query_rows[:, None] == gallery_rows[None, :]
    assert query_places is not None and gallery_places is not None
    same = query_ids[:, None] == gallery_ids[None, :]
    return same & (query_places[:, None] == gallery_places[None, :])
