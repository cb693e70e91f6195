"""Centred kernel alignment of RBF kernels, on a bounded sample of the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.similarity.kernel_sums import squared_norm
from isthmus.similarity.measure import ROTATION, Computed, RowMeasure
from isthmus.similarity.null import KernelShape, kernel_null, third_moment_ratio
from isthmus.similarity.row_sample import RowSample

__all__ = ["DECLARED", "RbfKernels", "rbf_kernel"]


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
        own = squared_norm(self.x) * squared_norm(self.y)
        if own <= 0:
            raise InputError("all rows of one side are the same: no RBF kernel")
        return float(np.vdot(self.x, self.y)) / own**0.5

    def shapes(self) -> tuple[KernelShape, KernelShape]:
        """What the null needs to know of both."""
        x, y = (
            KernelShape(
                float(np.trace(kernel)) ** 2 / squared_norm(kernel),
                float(np.sum(np.diagonal(kernel) ** 2)) / squared_norm(kernel),
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


def _rbf(sample: RowSample) -> Computed:
    kernels = RbfKernels.of(sample.x, sample.y)
    value = kernels.cka()
    null = kernel_null(sample.rows, *kernels.shapes(), value)
    return Computed(value, null, sample.interval(value, kernels.without))


DECLARED = (
    RowMeasure(
        name="rbf_cka",
        words="CKA with an RBF kernel",
        definition="cka.rbf.biased.sigma2=median",
        formula="CKA with exp(-d^2 / 2 s^2), s^2 the median squared distance of each side",
        source="Kornblith et al. 2019, arXiv 1905.00414",
        higher_is_closer=True,
        low=0.0,
        high=1.0,
        at_identity=1.0,
        invariances=ROTATION,
        preparation="seeded sample, kernels centred",
        compute=_rbf,
    ),
)
