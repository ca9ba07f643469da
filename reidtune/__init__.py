"""reidtune: parameter-efficient fine-tuning of CLIP backbones for re-identification.

    import reidtune

    model = reidtune.load("run/delta.safetensors")
    features = model.embed_images(["a.jpg", "b.jpg"])
    result = reidtune.rank(query, gallery, query_ids=..., gallery_ids=..., protocol="all")
    found = reidtune.decisions(query, gallery, query_ids=..., gallery_ids=..., protocol="all")
    found.threshold

Importing the package imports neither torch nor NumPy; the names below do when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reidtune.errors import DataError, DeltaError, ReidtuneError, SettingsError

if TYPE_CHECKING:
    from reidtune.model import Model, load
    from reidtune.retrieval.bootstrap import Intervals, confidence_intervals
    from reidtune.retrieval.decisions import Decisions, decisions
    from reidtune.retrieval.rank import RankResult, rank
    from reidtune.retrieval.rerank import rerank
    from reidtune.retrieval.search import SearchResult, search
    from reidtune.surveying import survey

__version__ = "0.1.0"
__all__ = [
    "DataError",
    "Decisions",
    "DeltaError",
    "Intervals",
    "Model",
    "RankResult",
    "ReidtuneError",
    "SearchResult",
    "SettingsError",
    "__version__",
    "confidence_intervals",
    "decisions",
    "load",
    "rank",
    "rerank",
    "search",
    "survey",
]

_LAZY = {
    "Decisions": "reidtune.retrieval.decisions",
    "decisions": "reidtune.retrieval.decisions",
    "Intervals": "reidtune.retrieval.bootstrap",
    "confidence_intervals": "reidtune.retrieval.bootstrap",
    "Model": "reidtune.model",
    "load": "reidtune.model",
    "RankResult": "reidtune.retrieval.rank",
    "rank": "reidtune.retrieval.rank",
    "rerank": "reidtune.retrieval.rerank",
    "SearchResult": "reidtune.retrieval.search",
    "search": "reidtune.retrieval.search",
    "survey": "reidtune.surveying",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
