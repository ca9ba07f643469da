"""The demo world in the user's cache folder, rendered when it is first asked for."""

from __future__ import annotations

from pathlib import Path

from reidtune.demo.world import WORLD_VERSION, Progress, check_kind, render_world
from reidtune.errors import ReidtuneError
from reidtune.paths import cache_folder


def demo_folder(kind: str = "image", seed: int = 0, progress: Progress | None = None) -> Path:
    """The folder of one kind (``image``, ``text`` or ``multimodal``) of the demo world ``seed``.

    It lies in the cache folder (:func:`reidtune.paths.cache_folder`) under a name that carries the world's version,
    and is rendered once; several processes may ask at the same time.

    Raises:
        SettingsError: there is no such kind.
        ReidtuneError: the cache folder cannot be written.
    """
    check_kind(kind)
    world = cache_folder() / f"demo-world-{WORLD_VERSION}-seed-{seed}"
    folder = world / kind
    if not folder.is_dir():
        try:
            render_world(world, seed=seed, kinds=(kind,), progress=progress)
        except ReidtuneError as error:
            if folder.is_dir():  # another process was faster
                return folder
            if type(error) is not ReidtuneError:
                raise
            hint = "Set REIDTUNE_CACHE to a folder that can be written."
            raise ReidtuneError(error.message, hint) from error
    return folder
