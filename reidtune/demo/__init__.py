"""The embedded default: a small rendered world of people and a tiny backbone, so that everything runs offline."""

from reidtune.demo.cache import demo_folder
from reidtune.demo.tiny import TINY_CONFIG, TINY_MEAN, TINY_STD, tiny_state_dict
from reidtune.demo.world import WORLD_VERSION, render_world

__all__ = [
    "TINY_CONFIG",
    "TINY_MEAN",
    "TINY_STD",
    "WORLD_VERSION",
    "demo_folder",
    "render_world",
    "tiny_state_dict",
]
