"""What the moments would be without one fold, as far as the measures ask."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from isthmus.array_types import Floats, Matrix
from isthmus.moments import Moments, SecondMoments
from isthmus.moments.translation import add_outer, translated_fourth
from isthmus.similarity.kernel_sums import KernelSums
from isthmus.similarity.spectra import Eigen, Gradient
from isthmus.threads import single_thread

__all__ = ["CovarianceChanges", "LeftOut"]

_RUN = 32
"""Rows of a covariance that stay in the processor's cache while they are worked on."""

_FOURTH = (
    *("xx", "xy", "yy", "square_x", "square_y", "quartic_xx", "quartic_xy", "quartic_yy"),
    *("cubic_xx", "cubic_xy", "cubic_yx", "cubic_yy"),
)


class LeftOut:
    """The rows of ``total`` that are not in ``fold``, without forming their ``(d, d)`` sums.

    ``S_rest = S_total − S_fold − w δ_a δ_bᵀ`` with ``δ`` the mean of the rest less that of the
    fold, and ``w = n_fold n_rest / n``.
    """

    def __init__(self, total: Moments, fold: Moments) -> None:
        self.total, self.fold = total, fold
        self.n = total.n - fold.n
        self._weight = fold.n * self.n / total.n
        self._means = {
            side: (total.n * getattr(total, name) - fold.n * getattr(fold, name)) / self.n
            for side, name in (("x", "mean_x"), ("y", "mean_y"))
        }
        self._apart = {
            "x": self._means["x"] - fold.mean_x,
            "y": self._means["y"] - fold.mean_y,
        }

    def change(self, name: str, whole: Matrix, out: Floats) -> None:
        """Write to ``out`` what leaving the fold out adds to the covariance ``whole`` of all rows.

        The difference is formed in float64, whatever the dtype of ``out``.
        """
        part = self.fold.sum_of(name)
        a, b = (self._apart[side].astype(out.dtype) for side in name)
        room = np.empty((_RUN, whole.shape[1]))
        for start in range(0, len(whole), _RUN):
            run = slice(start, start + _RUN)
            few = room[: len(part[run])]
            np.multiply(part[run], -1 / self.fold.n, out=few)
            np.add(few, whole[run], out=few)
            np.multiply(few, self.fold.n / self.n, out=out[run], casting="same_kind")
            add_outer(out[run], -self._weight / self.n, a[run], b)

    @cached_property
    def kernel_sums(self) -> KernelSums:
        """The sums of linear CKA of the rest."""
        squares: dict[str, float] = {}
        for name in ("xx", "xy", "yy"):
            whole, part = self.total.sum_of(name), self.fold.sum_of(name)
            a, b = self._apart[name[0]], self._apart[name[1]]
            squares[name] = (
                float(np.vdot(whole, whole))
                + float(np.vdot(part, part))
                - 2 * float(np.vdot(whole, part))
                - 2 * self._weight * float(a @ whole @ b - a @ part @ b)
                + self._weight**2 * float(a @ a) * float(b @ b)
            )
        traces = {
            side: float(
                (self.total.sum_of(f"square_{side}") - self.fold.sum_of(f"square_{side}")).sum()
            )
            - self._weight * float(self._apart[side] @ self._apart[side])
            for side in "xy"
        }
        quartic: dict[str, float] = {}
        if "fourth" in self.total.keep:
            whole, part = (self._about_the_rest(m) for m in (self.total, self.fold))
            quartic = {
                f"quartic_{ab}": float(whole[f"quartic_{ab}"] - part[f"quartic_{ab}"])
                for ab in ("xx", "xy", "yy")
            }
        return KernelSums(n=self.n, **squares, trace_x=traces["x"], trace_y=traces["y"], **quartic)

    def _about_the_rest(self, moments: Moments) -> dict[str, Matrix]:
        """Fourth-order sums of all or of the fold, about the mean of the rest."""
        shift = {
            "x": moments.mean_x - self._means["x"],
            "y": moments.mean_y - self._means["y"],
        }
        return translated_fourth({n: moments.sum_of(n) for n in _FOURTH}, moments.n, shift)


class CovarianceChanges:
    """What leaving each fold out changes in the covariances, ``(folds, d * d)`` of ``dtype``.

    One array serves the derivative of every measure, so that an interval costs three products of a
    matrix and a vector once there is a derivative.
    """

    def __init__(
        self,
        parts: Sequence[LeftOut],
        second: SecondMoments,
        dtype: np.dtype[np.floating],
    ) -> None:
        self._changes: dict[str, Floats] = {}
        for name in ("xx", "xy", "yy"):
            whole = second.require(name)
            self._changes[name] = np.empty((len(parts), whole.size), dtype)
            for part, row in zip(parts, self._changes[name], strict=True):
                part.change(name, whole, row.reshape(whole.shape))

    def variance_share(self, side: str, eigen: Eigen, k: int) -> Matrix:
        """The share of the variance of the leading ``k`` axes without each fold, to first order.

        Args:
            side: ``x`` or ``y``.
            eigen: of all rows.
            k: how many axes.
        """
        changes = self._changes[2 * side]
        leading = eigen.vectors[:, :k].astype(changes.dtype, copy=False)
        with single_thread:
            kept = changes @ (leading @ leading.T).reshape(-1)
        lost = changes[:, :: len(eigen.vectors) + 1].sum(axis=1, dtype=np.float64)  # of the trace
        return (float(eigen.values[:k].sum()) + kept) / (eigen.total + lost)

    def along(self, gradient: Gradient) -> Matrix:
        """What leaving each fold out adds to a value, to first order: ``(folds,)``."""
        total = np.zeros(len(self._changes["xx"]))
        with single_thread:
            for name, changes in self._changes.items():
                total += changes @ getattr(gradient, name).reshape(-1)
        return total
