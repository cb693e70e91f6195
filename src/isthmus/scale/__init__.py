"""Many files read part by part, and texts encoded, on processes, threads, Dask or Ray.

The names are loaded when first used: a worker imports what reads its parts, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.scale.encoding import open_divided
    from isthmus.scale.engine import Engine
    from isthmus.scale.labels import Labels
    from isthmus.scale.opening import open_engine
    from isthmus.scale.opening_pairs import open_pairs
    from isthmus.scale.pairs import PartedPairs

_HOMES = {
    "isthmus.scale.encoding": ("open_divided",),
    "isthmus.scale.engine": ("Engine",),
    "isthmus.scale.labels": ("Labels",),
    "isthmus.scale.opening": ("open_engine",),
    "isthmus.scale.opening_pairs": ("open_pairs",),
    "isthmus.scale.pairs": ("PartedPairs",),
}

__all__ = [
    "Engine",
    "Labels",
    "PartedPairs",
    "open_divided",
    "open_engine",
    "open_pairs",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
