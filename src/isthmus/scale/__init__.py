"""The same commands over many files, on processes, threads, Dask or Ray.

The names are loaded when first used: a worker imports what reads its parts, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.scale.apply import apply_parts
    from isthmus.scale.engine import Engine
    from isthmus.scale.labels import Labels
    from isthmus.scale.moments import StoredMoments, write_moments
    from isthmus.scale.opening import open_engine
    from isthmus.scale.pairs import PartedPairs, open_pairs

_HOMES = {
    "isthmus.scale.apply": ("apply_parts",),
    "isthmus.scale.engine": ("Engine",),
    "isthmus.scale.labels": ("Labels",),
    "isthmus.scale.moments": ("StoredMoments", "write_moments"),
    "isthmus.scale.opening": ("open_engine",),
    "isthmus.scale.pairs": ("PartedPairs", "open_pairs"),
}

__all__ = [
    "Engine",
    "Labels",
    "PartedPairs",
    "StoredMoments",
    "apply_parts",
    "open_engine",
    "open_pairs",
    "write_moments",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
