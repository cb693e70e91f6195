"""Centred kernel alignment: linear from moments, debiased from moments, RBF on a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.similarity.null import KernelShape, third_moment_ratio

__all__ = [
    "KernelSums",
    "RbfKernels",
    "debiased_cka",
    "linear_cka",
    "rbf_kernel",
]

Matrix = NDArray[np.float64]


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
            xx=_square(moments.xx),
            xy=_square(moments.xy),
            yy=_square(moments.yy),
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

    def shape(self, side: str, third: float) -> KernelShape:
        """What the null needs to know of one side."""
        square: float = getattr(self, side + side)
        trace: float = getattr(self, f"trace_{side}")
        quartic: float | None = getattr(self, f"quartic_{side}{side}")
        delta = None if quartic is None or not np.isfinite(quartic) else quartic / square
        return KernelShape(trace / square * trace, delta, third)


def _square(matrix: Matrix) -> float:
    return float(np.vdot(matrix, matrix))


def linear_cka(sums: KernelSums) -> float:
    """``‖Sxy‖² / (‖Sxx‖ ‖Syy‖)`` in [0, 1]; the RV coefficient under another name.

    Kornblith et al. 2019.  Biased upwards where n is not much larger than the widths.
    """
    return sums.xy / sums.xx**0.5 / sums.yy**0.5


def debiased_cka(sums: KernelSums) -> float:
    """CKA from the unbiased HSIC of Song et al. (2012, eq. 5); 0 on average without relation.

    For centred rows the kernels' rows sum to nothing, and eq. 5 becomes
    ``n(n−3) HSIC₁ = tr KL − n/(n−2) Σ K_ii L_ii + tr K tr L / ((n−1)(n−2))``.  It may be negative,
    and is not clamped.

    Raises:
        InputError: with fewer than 4 rows, weighted rows, or moments without ``fourth``.
    """
    n = sums.n
    if n < 4:
        raise InputError(
            f"debiased CKA is not defined for {n:g} rows", mend="Give 4 or more; better hundreds"
        )
    if sums.quartic_xx is None or sums.quartic_xy is None or sums.quartic_yy is None:
        raise InputError("debiased CKA needs moments that keep 'fourth'")
    if not np.isfinite([sums.quartic_xx, sums.quartic_xy, sums.quartic_yy]).all():
        raise InputError(
            "fourth powers of the vectors overflow",
            mend="Scale them down, or give them in float64",
        )

    def hsic(products: float, quartic: float, left: float, right: float) -> float:
        return products - n / (n - 2) * quartic + left / (n - 1) * right / (n - 2)

    own_x = hsic(sums.xx, sums.quartic_xx, sums.trace_x, sums.trace_x)
    own_y = hsic(sums.yy, sums.quartic_yy, sums.trace_y, sums.trace_y)
    if own_x <= 1e-6 * sums.xx or own_y <= 1e-6 * sums.yy:
        raise InputError(
            "the rows of a side are equally far from each other, so debiased CKA is 0 / 0"
        )
    cross = hsic(sums.xy, sums.quartic_xy, sums.trace_x, sums.trace_y)
    return cross / own_x**0.5 / own_y**0.5


# ---- RBF ---------------------------------------------------------------------------------------


def rbf_kernel(rows: NDArray[np.floating]) -> Matrix:
    """``exp(−d²/2σ²)`` of all pairs of ``rows (m, d)``, σ² the median squared distance: ``(m, m)``.

    For a bounded sample.  Distances of centred rows, in float64.

    Raises:
        InputError: if more than half of the pairs are equal, so that there is no scale.
    """
    wide = np.asarray(rows, dtype=np.float64)
    wide = wide - wide.mean(axis=0)
    squares = np.einsum("ij,ij->i", wide, wide)
    distances = squares[:, None] + squares - 2 * (wide @ wide.T)
    np.fill_diagonal(distances, 0.0)
    np.maximum(distances, 0.0, out=distances)
    sigma2 = float(np.median(distances[np.triu_indices(len(wide), 1)]))
    if sigma2 <= 1e-24 * float(squares.max(initial=0.0)):
        raise InputError("more than half of the pairs of rows are equal: the kernel has no scale")
    return np.exp(distances / (-2 * sigma2))


@dataclass(frozen=True)
class RbfKernels:
    """RBF kernels of the same ``m`` rows in two spaces, double centred: ``(m, m)`` each."""

    x: Matrix
    y: Matrix

    @classmethod
    def of(cls, x: NDArray[np.floating], y: NDArray[np.floating]) -> RbfKernels:
        """The kernels of ``x (m, dx)`` and ``y (m, dy)``."""
        return cls(_double_centred(rbf_kernel(x)), _double_centred(rbf_kernel(y)))

    def cka(self) -> float:
        """``tr KL / (‖K‖ ‖L‖)``.

        Raises:
            InputError: where the rows of a side are all the same.
        """
        own = _square(self.x) * _square(self.y)
        if own <= 0:
            raise InputError("all rows of one side are the same: no RBF kernel")
        return float(np.vdot(self.x, self.y)) / own**0.5

    def shapes(self) -> tuple[KernelShape, KernelShape]:
        """What the null needs to know of both."""
        x, y = (
            KernelShape(
                float(np.trace(kernel)) ** 2 / _square(kernel),
                float(np.sum(np.diagonal(kernel) ** 2)) / _square(kernel),
                third_moment_ratio(kernel),
            )
            for kernel in (self.x, self.y)
        )
        return x, y

    def without(self, block: slice) -> float:
        """CKA of the rows that are not in ``block``, σ² as it was.

        Raises:
            InputError: where those of a side are all the same.
        """
        kept = np.ones(len(self.x), dtype=bool)
        kept[block] = False
        x, y = (_double_centred(kernel[kept][:, kept]) for kernel in (self.x, self.y))
        return RbfKernels(x, y).cka()


def _double_centred(kernel: Matrix) -> Matrix:
    rows = kernel.mean(axis=0)
    return kernel - rows - rows[:, None] + rows.mean()
