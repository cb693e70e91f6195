"""Rows of a longer stream through a chain: all that a worker needs of a bridge.

It imports neither evidence nor contracts: a worker would load them for longer than it maps a part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.adapters.chain.one_matrix import block_rows
from isthmus.errors import InputError
from isthmus.pickling import PickledByFields
from isthmus.spaces.metric import Metric
from isthmus.spaces.row_checks import check_vectors
from isthmus.spaces.writers import VectorWriter

__all__ = ["RowMap"]


@dataclass(frozen=True, eq=False)
class RowMap(PickledByFields):
    """The map of a bridge, and what its rows must be.

    The model that rows come from is the caller's to recognise.
    """

    chain: Chain
    dim: int
    """Width of the rows that are mapped."""
    mapped_dim: int
    """Width of what they become."""
    metric: Metric

    @property
    def block_rows(self) -> int:
        """Rows to map at once, so that they are still in the cache when they are written."""
        return block_rows(self.dim, self.mapped_dim)

    def fast(
        self, x: NDArray[Any], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32] | None:
        """Map healthy float32 rows ``(n, dx)``, into ``out (n, dy)`` if given; None for others."""
        one_matrix = self.chain.one_matrix
        if one_matrix is None or x.ndim != 2 or x.shape[1] != self.dim:
            return None
        return one_matrix.rows(x, out)

    def write(
        self,
        rows: NDArray[Any],
        ids: NDArray[Any] | None,
        place: tuple[str, int],
        writer: VectorWriter,
    ) -> None:
        """Map a block of rows ``(m, dx)``, and write it with its ids ``(m,)``.

        Args:
            rows: as they were read.
            ids: of the rows, or None.
            place: what holds them, and the number of the first in it.
            writer: takes them.

        Raises:
            InputError: naming the first row that cannot be used, or is mapped to what is not
                finite.
        """
        where, first = place
        space = writer.space(len(rows))
        mapped = self.fast(rows, space) if rows.dtype.char == "f" else None
        if mapped is None:
            # of weights that are too large; the error names the row
            with np.errstate(over="ignore", invalid="ignore"):
                mapped = self.chain(
                    check_vectors(
                        rows, dim=self.dim, metric=self.metric, where=where, first_row=first
                    )
                )
                _check_finite(mapped, where, first)
        writer.write(mapped, ids)


def _check_finite(mapped: NDArray[Any], where: str, first: int) -> None:
    flat = mapped.reshape(-1)
    # a sum of squares tells at once; squares of large numbers may overflow themselves
    if np.isfinite(flat @ flat) or np.isfinite(mapped).all():
        return
    row = int(np.argmin(np.isfinite(mapped).all(axis=1)))
    raise InputError(
        "the bridge maps this row to a number that is not finite",
        where=f"{where}, row {first + row}",
        mend="Its weights are too large: fit the bridge again",
    )
