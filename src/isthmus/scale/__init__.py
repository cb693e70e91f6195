"""The same commands over many files, on processes, threads, Dask or Ray."""

from isthmus.scale.engine import Engine
from isthmus.scale.opening import open_engine

__all__ = ["Engine", "open_engine"]
