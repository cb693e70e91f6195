"""Two models of one kind of item, and queries for each, that a close ridge map joins."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.trial import FittedRows

__all__ = ["DIM", "FOLDS", "Folded", "RidgeWorld"]

Array = NDArray[Any]
DIM, FOLDS = 64, 5


class Folded(NamedTuple):
    """Pairs ``(n, 64)`` and new queries behind maps of the other folds."""

    x: Array
    y: Array
    mapped: Array
    maps: list[Array]
    fitted: FittedRows


class RidgeWorld:
    """Rows of either model, and maps from the new one to the old one."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.turn = self.rng.standard_normal((DIM, DIM)) / DIM**0.5

    def drawn(self, n: int) -> tuple[Array, Array]:
        """New queries and old items ``(n, 64)`` of as many new items."""
        items = self.rng.standard_normal((n, DIM)) / np.arange(1, DIM + 1) ** 0.5
        noise = 0.25 * self.rng.standard_normal((2, n, DIM))
        return (items + noise[0]).astype(np.float32), (items @ self.turn + 0.3 * noise[1]).astype(
            np.float32
        )

    def folded(self, n: int) -> Folded:
        """Pairs whose queries are mapped by a close fit of all folds but their own."""
        x, y = self.drawn(n)
        folds = np.arange(n) % FOLDS
        maps = [_ridge(x[folds != k], y[folds != k]) for k in range(FOLDS)]
        mapped = np.stack([row @ maps[k] for row, k in zip(x, folds, strict=True)])
        return Folded(x, y, mapped, maps, FittedRows(folds, folds))


def _ridge(x: Array, y: Array) -> Array:
    return np.linalg.solve(x.T @ x + 0.01 * np.eye(DIM), x.T @ y)
