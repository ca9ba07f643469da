"""How datasets lie on disk: one file a family, and the registry that others can add to."""

from reidtune.data.layouts.assemble import assemble, number_names
from reidtune.data.layouts.registry import ENTRY_POINTS, Layout, find_layout, known_layouts

__all__ = ["ENTRY_POINTS", "Layout", "assemble", "find_layout", "known_layouts", "number_names"]
