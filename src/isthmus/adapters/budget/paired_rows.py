"""Paired rows of two arrays, picked by number and read by blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.moments import Moments, SecondMoments
from isthmus.numeric import Array, to_numpy
from isthmus.spaces.row_checks import check_vectors, take_rows
from isthmus.spaces.sample import Batch

__all__ = ["MappedRows", "PairedRows"]

_BLOCK_ROWS = 8192


class PairedRows:
    """Paired rows picked by number, checked and in blocks."""

    def __init__(self, x: Array, y: Array, metric: Any) -> None:
        self.x, self.y, self.metric = x, y, metric

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The rows of both sides ``(k, dx)`` and ``(k, dy)``."""
        return self._side(self.x, rows, "x"), self._side(self.y, rows, "y")

    def _side(self, side: Array, rows: NDArray[np.int64], name: str) -> NDArray[Any]:
        return to_numpy(check_vectors(take_rows(side, rows), metric=self.metric, where=name))

    def blocks(self, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """The rows of `take`, a block at a time."""
        for start in range(0, len(rows), _BLOCK_ROWS):
            yield self.take(rows[start : start + _BLOCK_ROWS])

    def moments(self, rows: NDArray[np.int64], on_x: Chain, on_y: Chain) -> SecondMoments:
        """The moments of the rows behind two chains."""
        found: Moments | None = None
        for x, y in self.blocks(rows):
            x, y = on_x(x), on_y(y)
            if found is None:
                found = Moments(x.shape[1], y.shape[1], keep={"square", "xx", "xy", "yy"})
            found.update(x, y)
        assert found is not None
        return found.second()


@dataclass(frozen=True, eq=False)
class MappedRows:
    """The rows behind two chains, for refinements."""

    source: PairedRows
    rows: NDArray[np.int64]
    on_x: Chain
    on_y: Chain

    def __iter__(self) -> Iterator[Batch]:
        done = 0
        for x, y in self.source.blocks(self.rows):
            yield Batch(self.rows[done : done + len(x)], self.on_x(x), self.on_y(y))
            done += len(x)
