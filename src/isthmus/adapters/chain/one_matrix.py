"""The chain that serving meets every day, with nothing between the product and the memory.

``x ↦ unit(unit(x) W + b)``, either norm optional, in float32 numpy.  Because the divisor ``‖x‖`` is
lost again in the last norm, ``(x/‖x‖) W + b`` is computed as ``x W + ‖x‖ b``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain.affine import Affine
from isthmus.adapters.chain.row_norm import RowNorm
from isthmus.adapters.chain.stage import Stage
from isthmus.added_products import add_product
from isthmus.array_types import Embeddings
from isthmus.numeric import row_squares
from isthmus.pickling import PickledByFields
from isthmus.scipy_later import linalg
from isthmus.threads import product_threads, single_thread

__all__ = ["OneMatrix", "block_rows"]

_TINY, _HUGE = 1e-30, 1e30  # squares beyond them are left to the careful path
_SHORT, _LONG = 1e-15, 1e15
_CACHE_LINE = 64
_UNIT = RowNorm("unit")
_BLOCK = 3 << 20  # bytes; smaller blocks make a product slower, larger ones leave the cache


def block_rows(dx: int, dy: int) -> int:
    """Rows of these widths, before and after, to read, map and write at once."""
    return max(1, _BLOCK // (4 * max(dx, dy)))


@dataclass(frozen=True, eq=False)
class OneMatrix(PickledByFields):
    """One matrix with optional unit norms around it.

    Both methods return None where a row is zero or a result is not finite: those rare inputs are
    for the caller to explain, or to map step by step.
    """

    matrix: Embeddings
    """``W (dx, dy)``"""
    offset: Embeddings
    """``b (dy,)``"""
    unit_in: bool
    unit_out: bool

    @classmethod
    def of(cls, stages: Sequence[Stage]) -> Self | None:
        """The same map as ``stages``; None where they are more than this."""
        unit_in = stages[:1] == (_UNIT,)
        unit_out = len(stages) > 1 and stages[-1] == _UNIT
        middle = stages[unit_in : len(stages) - unit_out]
        if len(middle) != 1 or not isinstance(middle[0], Affine) or (unit_in and not unit_out):
            return None
        matrix, offset = middle[0].matrix, middle[0].offset
        if matrix is None or matrix.ndim != 2:
            return None
        return cls(
            np.ascontiguousarray(matrix, dtype=np.float32),
            np.zeros(matrix.shape[1], np.float32) if offset is None else offset.astype(np.float32),
            unit_in,
            unit_out,
        )

    @cached_property
    def _reach(self) -> float:
        """What the length of a row may be multiplied by, or 1 if that is more."""
        longest = float(np.linalg.norm(self.matrix.astype(np.float64)))
        return max(longest + float(np.linalg.norm(self.offset.astype(np.float64))), 1.0)

    @cached_property
    def one(self) -> Callable[[Embeddings], Embeddings | None]:
        """Map one vector ``(dx,)``: a closure, because a serving process counts microseconds."""
        weights, offset, dy = _aligned(self.matrix), self.offset, len(self.offset)
        unit_in, unit_out, shifted = self.unit_in, self.unit_out, bool(self.offset.any())
        threads = product_threads()
        # a call of these costs a quarter of what the same ufuncs cost; both work in place
        norm, add, scale = cast(
            "tuple[Any, Any, Any]",
            linalg.get_blas_funcs(("nrm2", "axpy", "scal"), dtype=np.float32),
        )

        def mapped(x: Embeddings) -> Embeddings | None:
            length = norm(x)
            if not _SHORT < length < _LONG:
                return None
            if threads() == 1:
                y = x.dot(weights)
            else:
                with single_thread:
                    y = x.dot(weights)
            if shifted:
                add(offset, y, dy, length if unit_in else 1.0)
            if unit_out:
                length = norm(y)
                if not _SHORT < length < _LONG:
                    return None
                scale(1.0 / length, y)
            return y

        return mapped

    @np.errstate(over="ignore", invalid="ignore")  # both show in the norms
    def rows(self, x: NDArray[Any], out: Embeddings | None = None) -> Embeddings | None:
        """Map rows ``(n, dx)``, into ``out (n, dy)`` where it is given."""
        if out is None and len(x) == 1:
            y = self.one(x[0])
            return None if y is None else y[None]
        if out is None:
            out = np.empty((len(x), self.matrix.shape[1]), np.float32)
        shifted, step = bool(self.offset.any()), block_rows(*self.matrix.shape)
        for start in range(0, len(x), step):
            block = x[start : start + step]
            y = out[start : start + step]
            lengths = np.sqrt(row_squares(block))
            # BLAS would begin with zeros, and the offset be added in a pass of its own
            if not shifted:
                np.matmul(block, self.matrix, out=y)
            elif self.unit_in:
                add_product(np.multiply(lengths[:, None], self.offset, out=y), block, self.matrix)
            else:
                y[:] = self.offset
                add_product(y, block, self.matrix)
            if not (lengths.min() > _SHORT and lengths.max() * self._reach < _HUGE):
                return None
            if self.unit_out:
                squares = row_squares(y)
                if not (squares.min() > _TINY and squares.max() < _HUGE):
                    return None
                y *= (1.0 / np.sqrt(squares))[:, None]
        return out


def _aligned(matrix: Embeddings) -> Embeddings:
    """A copy that begins with a cache line; NumPy begins within one, which costs a tenth."""
    size = matrix.nbytes
    raw = np.empty(size + _CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % _CACHE_LINE
    found = raw[start : start + size].view(np.float32).reshape(matrix.shape)
    found[:] = matrix
    return found
