"""One upgrade: the same queries and items, encoded by the old and by the new model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.arrays import Array

__all__ = ["Upgrade", "unit"]


@dataclass(frozen=True, eq=False)
class Upgrade:
    """Query i is answered by item i, and by no other."""

    name: str
    old_queries: Array
    new_queries: Array
    old_items: Array
    new_items: Array

    @property
    def ids(self) -> Array:
        return np.arange(len(self.old_items))


Build = Callable[[], Upgrade]


def unit(rows: Array) -> Array:
    """Rows of unit length."""
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(
        np.float32
    )
