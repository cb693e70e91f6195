"""The same commands over many files, on processes, threads, Dask or Ray."""

from isthmus.scale.apply import apply_parts
from isthmus.scale.engine import Engine
from isthmus.scale.moments import StoredMoments, write_moments
from isthmus.scale.opening import open_engine
from isthmus.scale.pairs import PartedPairs, open_pairs

__all__ = [
    "Engine",
    "PartedPairs",
    "StoredMoments",
    "apply_parts",
    "open_engine",
    "open_pairs",
    "write_moments",
]
