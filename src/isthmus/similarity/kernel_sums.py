"""Inner products of the linear kernels of two sides, from moments: all that linear CKA needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.similarity.null import KernelShape

__all__ = ["KernelSums", "squared_norm"]


@dataclass(frozen=True)
class KernelSums:
    """All that linear CKA needs of two sides: inner products of their linear kernels.

    With ``K = XXᵀ`` and ``L = YYᵀ`` of centred rows, ``xy = tr KL = ‖Sxy‖²``, ``trace_x = tr K``
    and ``quartic_xy = Σ K_ii L_ii``; never an ``(n, n)`` matrix.
    """

    n: float
    xx: float
    xy: float
    yy: float
    trace_x: float
    trace_y: float
    quartic_xx: float | None = None
    quartic_xy: float | None = None
    quartic_yy: float | None = None

    @classmethod
    def of(cls, moments: Moments) -> KernelSums:
        """From moments that keep ``square``, ``xx``, ``xy`` and ``yy``, and ``fourth`` if they do.

        Raises:
            InputError: if one of them was not kept, or a side does not vary.
        """
        fourth = "fourth" in moments.keep

        def quartic(name: str) -> float | None:
            return float(moments.sum_of(f"quartic_{name}")) if fourth else None

        return cls(
            n=moments.n,
            xx=squared_norm(moments.xx),
            xy=squared_norm(moments.xy),
            yy=squared_norm(moments.yy),
            trace_x=float(moments.sum_of("square_x").sum()),
            trace_y=float(moments.sum_of("square_y").sum()),
            quartic_xx=quartic("xx"),
            quartic_xy=quartic("xy"),
            quartic_yy=quartic("yy"),
        ).checked()

    def checked(self) -> KernelSums:
        """These sums.

        Raises:
            InputError: if a side does not vary, or its sums of fourth powers leave float64.
        """
        for side, trace, square in (("x", self.trace_x, self.xx), ("y", self.trace_y, self.yy)):
            if not np.isfinite([square, trace]).all():
                raise InputError(
                    "fourth powers of the vectors overflow", where=side, mend="Scale them down"
                )
            if trace <= 0 or square <= 0:
                raise InputError(
                    "all rows are the same, so nothing can be compared",
                    where=side,
                    mend="Check that the vectors were read from the right place",
                )
        return self

    @property
    def effective_rows(self) -> float:
        """How many rows of one length vary as little: ``(Σ K_ii)² / Σ K_ii²`` of the worse side.

        All of them without sums of fourth powers.
        """
        sides = (self.trace_x, self.quartic_xx), (self.trace_y, self.quartic_yy)
        known = [trace / quartic * trace for trace, quartic in sides if quartic]
        return min([self.n, *(rows for rows in known if np.isfinite(rows))])

    def shape(self, side: str, third: float) -> KernelShape:
        """What the null needs to know of one side."""
        square: float = getattr(self, side + side)
        trace: float = getattr(self, f"trace_{side}")
        quartic: float | None = getattr(self, f"quartic_{side}{side}")
        delta = None if quartic is None or not np.isfinite(quartic) else quartic / square
        return KernelShape(trace / square * trace, delta, third)


def squared_norm(matrix: NDArray[np.float64]) -> float:
    """The sum of all squared elements of a matrix."""
    return float(np.vdot(matrix, matrix))
