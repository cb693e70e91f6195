"""What the moments would be without one fold, as far as the measures ask: inner products alone."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isthmus.moments import Moments
from isthmus.moments.sums import translated_fourth
from isthmus.similarity.cka import KernelSums
from isthmus.similarity.spectra import Gradient

__all__ = ["LeftOut"]

Matrix = NDArray[np.float64]

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

    def inner(self, gradient: Gradient) -> float:
        """The inner product of a gradient with the covariances of the rest."""
        value = 0.0
        for name in ("xx", "xy", "yy"):
            g: Matrix = getattr(gradient, name)
            a, b = self._apart[name[0]], self._apart[name[1]]
            value += float(np.vdot(g, self.total.sum_of(name)))
            value -= float(np.vdot(g, self.fold.sum_of(name)))
            value -= self._weight * float(a @ g @ b)
        return value / self.n

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
