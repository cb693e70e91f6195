"""Ridge regression between spaces, with its whole regularisation path and exact cross-validation.

One eigendecomposition ``A = V diag(s) Vᵀ`` serves every strength; a fold's exact error needs its
moments alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.steps.base import Expanded, LinearAdapter, Splits, Value
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.moments.translation import add_outer
from isthmus.scipy_later import linalg
from isthmus.strengths import widened
from isthmus.threads import single_thread

__all__ = ["DEFAULT_ALPHAS", "Ridge", "RidgePath", "path_errors", "strongest"]


DEFAULT_ALPHAS: Matrix = np.logspace(-6, 2, 25)
"""25 strengths, relative to the mean eigenvalue of the source covariance."""

_POWERS = (1.0, 0.75, 0.5)
_FLAT = 1e-6
"""Share of the target's variance that float32 sums of other blocks can differ by."""
_GRID_STEPS = (-6, -3, 0, 3, 6)
"""Strengths tried around the cross-validated best: a third of a decade each, two decades wide."""


@dataclass(frozen=True, eq=False)
class RidgePath:
    """Every ridge map of a pair of spaces: ``W(α) = V diag(1 / (s + α s̄)) Vᵀ M``.

    ``s̄ = tr A / width`` makes the strength α independent of scale and width.
    """

    vectors: NDArray[Any]
    values: Matrix
    rotated: NDArray[Any]
    """``VᵀM (dx, dy)``."""
    width: int
    """Dimensions of the source space: more than dx where rows are coordinates in a subspace."""

    @classmethod
    def of(cls, moments: SecondMoments, dtype: type[np.floating[Any]] = np.float64) -> RidgePath:
        """Decompose once, in ``dtype``; the cost is one ``eigh`` of ``(dx, dx)``."""
        if dtype is np.float64:
            # kept with the moments, for every strength and whatever else whitens them
            moments.require("xx")
            own, axes = moments.x.eigen
            with single_thread:
                return cls(axes, own, axes.T @ moments.require("xy"), moments.widths[0])
        with single_thread:
            # the transpose of a symmetric matrix, in the order that LAPACK overwrites in place
            values, vectors = linalg.eigh(
                moments.require("xx").astype(dtype).T,
                driver="evd",
                check_finite=False,
                overwrite_a=True,
            )
            rotated = vectors.T @ moments.require("xy").astype(dtype)
        own = np.maximum(values.astype(np.float64), 0.0)
        return cls(vectors, own, rotated, moments.widths[0])

    def filter(self, alphas: Matrix | Sequence[float]) -> Matrix:
        """``1 / (s + α s̄)`` for each strength: ``(len(alphas), dx)``; 0 in unused directions.

        Raises:
            InputError: for a negative strength.
        """
        strengths = np.asarray(alphas, dtype=np.float64)
        if strengths.size == 0 or not (strengths >= 0).all():
            raise InputError(f"ridge strengths must be 0 or more, got {list(strengths)}")
        mean = float(self.values.sum()) / self.width
        floor = max(1e-12 * float(self.values.max()), 1e-300)
        denominator = self.values[None, :] + strengths[:, None] * mean
        return np.where(denominator > floor, 1.0 / np.maximum(denominator, floor), 0.0)

    def map(self, alpha: float) -> Matrix:
        """``W(α) (dx, dy)``."""
        with single_thread:
            return self.vectors @ (self.filter([alpha])[0][:, None] * self.rotated)

    def errors(self, held_out: SecondMoments, train: SecondMoments, alphas: Matrix) -> Matrix:
        """Mean squared error on held-out rows for every strength ``(len(alphas),)``.

        ``tr(WᵀA_f W) − 2 tr(WᵀM_f) + tr C_f`` about the means of the training rows, in the
        eigenbasis of the training covariance: a strength costs one quadratic form.  No rows are
        needed; the precision is that of the decomposition.
        """
        shift_x, shift_y = held_out.mean_x - train.mean_x, held_out.mean_y - train.mean_y
        scale = self.filter(alphas)
        dtype = self.vectors.dtype
        with single_thread:
            cross = self.vectors.T @ held_out.require("xy").astype(dtype)
            turned = self.vectors.T @ (held_out.require("xx").astype(dtype) @ self.vectors)
            # about the training means: a rank-one term each
            apart = shift_x.astype(dtype) @ self.vectors
            turned = add_outer(turned, 1.0, apart, apart)
            linear = np.einsum("ij,ij->i", self.rotated, cross)
            linear += apart * (self.rotated @ shift_y.astype(dtype))
            turned *= self.rotated @ self.rotated.T
            quadratic = np.einsum("ai,ai->a", scale, scale.astype(dtype) @ turned)
        constant = float(held_out.variance_y.sum() + shift_y @ shift_y)
        return quadratic - 2.0 * scale @ linear.astype(np.float64) + constant


def path_errors(
    folds: Sequence[tuple[SecondMoments, SecondMoments]],
    alphas: Matrix = DEFAULT_ALPHAS,
    dtype: type[np.floating[Any]] = np.float32,
) -> Matrix:
    """Cross-validated mean squared error, ``(folds, len(alphas))``.

    Args:
        folds: of each fold, the moments of its training rows and of its held-out rows.
        alphas: strengths relative to the mean eigenvalue.
        dtype: of the decompositions.  float32 costs half as much and is right to about 1e-4 of
            the target's variance, which is enough to choose by; the chosen map itself is solved
            in float64.
    """
    return np.stack(
        [RidgePath.of(train, dtype).errors(held_out, train, alphas) for train, held_out in folds]
    )


def relative_errors(
    splits: Sequence[tuple[SecondMoments, SecondMoments]], alphas: Matrix = DEFAULT_ALPHAS
) -> Matrix:
    """Cross-validated error of every strength over the target's variance, ``(len(alphas),)``."""
    if not splits:
        return np.zeros(len(alphas))
    weights = np.array([fold.n for _, fold in splits])
    spread = float(weights @ [fold.variance_y.sum() for _, fold in splits])
    errors = weights @ path_errors(splits, alphas)
    return errors / spread if spread > 0 else errors


def strongest(errors: Matrix) -> int:
    """Of strengths in ascending order, the place of the strongest that is as good as any.

    Where the error is flat, the order in which rows were summed must not choose.

    Args:
        errors: over the target's variance ``(strengths,)``.
    """
    return int(np.flatnonzero(errors <= errors.min() + _FLAT)[-1])


class Ridge(LinearAdapter):
    """Least squares with shrinkage: ``W = (A + α s̄ I)⁻¹ M``, ``s̄`` the mean eigenvalue of A.

    Args:
        alpha: strength, relative to the mean eigenvalue of the source covariance, so that one
            number means the same at any scale.  scikit-learn's ``alpha`` is
            ``alpha · n · tr(A) / dx``.
        power: exponent on the singular values of the map; 1 leaves it as it is, towards 0 it
            becomes the rotation nearest to it.  The overall scale is refitted.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((200, 4))
        >>> turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
        >>> noise = np.random.default_rng(2).standard_normal((200, 4))
        >>> found = Ridge(alpha=0.1).fit(x, x @ turn + 0.1 * noise)
        >>> bool(np.abs(found.transform(x) - x @ turn).max() < 0.5)
        True
    """

    name = "ridge"
    turns = True
    needs = frozenset({"square", "xx", "xy"})
    automatic = frozenset({"alpha", "power"})
    path = "alpha"

    def __init__(self, alpha: float = 1e-3, power: float = 1.0) -> None:
        self.alpha = alpha
        self.power = power

    @classmethod
    @override
    def expanded(cls, parameters: Mapping[str, Value], splits: Splits) -> Expanded:
        """Every ``auto`` replaced, stronger regularisation first."""
        alpha, power = parameters.get("alpha", 1e-3), parameters.get("power", 1.0)
        strengths: list[tuple[float, float | None]]
        if alpha == "auto":
            folds = splits()
            alphas, errors = widened(
                lambda some: relative_errors(folds, some), DEFAULT_ALPHAS, "ridge"
            )
            best = strongest(errors)
            grid = {min(max(best + step, 0), len(errors) - 1) for step in _GRID_STEPS}
            strengths = [
                (float(f"{alphas[i]:.3g}"), float(errors[i])) for i in sorted(grid, reverse=True)
            ]
        else:
            strengths = [(float(alpha), None)]
        powers = _POWERS if power == "auto" else (float(power),)
        return [
            ({**parameters, "alpha": strength, "power": exponent}, error)
            for exponent in powers
            for strength, error in strengths
        ]

    @override
    def _solve(self, moments: SecondMoments) -> Matrix:
        if not 0 <= self.power <= 1:
            raise InputError(f"the spectral exponent lies in [0, 1], got {self.power}")
        matrix = RidgePath.of(moments).map(self.alpha)
        return matrix if self.power == 1 else spectral_power(matrix, self.power, moments)


def spectral_power(matrix: Matrix, power: float, moments: SecondMoments) -> Matrix:
    """``U Σ^power Vᵀ`` of a map ``UΣVᵀ``, rescaled to the least squared error.

    Small singular values of a regression are small because noise shrank them; a power below 1
    gives their directions back some of the weight.
    """
    with single_thread:
        u, s, vt = linalg.svd(matrix, full_matrices=False)
        top = max(float(s[0]), 1e-300)
        used = s > 1e-10 * top
        shaped = (u[:, used] * (s[used] / top) ** power) @ vt[used]
        explained = np.einsum("ij,ij->", shaped, moments.require("xx") @ shaped)
        aligned = np.einsum("ij,ij->", shaped, moments.require("xy"))
    return shaped * float(aligned / explained) if explained > 0 else shaped
