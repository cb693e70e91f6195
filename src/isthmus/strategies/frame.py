"""Where the source vectors of a fit lie, in so few numbers that every vector can be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import check_vectors
from isthmus.moments import Moments
from isthmus.moments.second import Side
from isthmus.numeric import Array, like, namespace
from isthmus.threads import single_thread

__all__ = ["Frame", "host_dtype", "weights_like"]

Matrix = NDArray[np.float64]
Rows = NDArray[np.float32]

_DIRECTIONS = 63  # and a column for the mean: BLAS likes whole tiles


@dataclass(frozen=True, eq=False)
class Frame:
    """The source vectors of the fit: principal directions, and one average for the rest.

    The covariance is shrunk towards its mean eigenvalue, the more the fewer rows there were.
    """

    mean: Rows
    """``(d,)``"""
    directions: Rows
    """``u_j / √λ_j`` as columns ``(d, r)``, those of the largest λ."""
    variances: Rows
    """``λ_j (r,)``"""
    rest: float
    """Mean variance of the other ``d - r`` directions."""
    unit: bool
    """Vectors are compared after division by their length."""

    @classmethod
    def of_moments(cls, side: Side, *, unit: bool) -> Frame:
        """From the mean and the covariance of the fit rows, of unit length if ``unit``.

        Raises:
            InputError: if the covariance was not kept.
        """
        if side.covariance is None:
            raise InputError("the moments hold no 'xx': it was not asked for in keep=")
        d = len(side.mean)
        with single_thread:
            values, vectors = scipy.linalg.eigh(side.covariance, driver="evd")
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        average = max(float(values.mean()), 1e-12)
        shrinkage = d / (side.n + d)
        values = (1 - shrinkage) * values + shrinkage * average
        r = min(_DIRECTIONS, max(d // 12 - 1, min(d, 7)))
        rest = float(values[r:].mean()) if r < d else average
        return cls(
            side.mean.astype(np.float32),
            np.ascontiguousarray(vectors[:, :r] / np.sqrt(values[:r]), dtype=np.float32),
            values[:r].astype(np.float32),
            float(np.float32(rest)),
            unit,
        )

    @classmethod
    def of_rows(cls, rows: NDArray[Any], *, unit: bool) -> Frame:
        """From source vectors ``(n, d)`` that the map was fitted on, or that are like them."""
        if unit:
            lengths = check_vectors(rows, "rows of the frame", "cosine")
            rows = rows / lengths.astype(rows.dtype)[:, None]
        side = Moments.of(rows, rows, keep={"square", "xx"}).second().x
        return cls.of_moments(side, unit=unit)

    @cached_property
    def _products(self) -> Rows:
        """The directions and, as one more column, the mean."""
        return np.ascontiguousarray(np.hstack([self.directions, self.mean[:, None]]))

    @cached_property
    def _shift(self) -> Rows:
        return (self.mean.astype(np.float64) @ self.directions).astype(np.float32)

    @cached_property
    def _mean_square(self) -> float:
        return float(np.square(self.mean, dtype=np.float64).sum())

    @cached_property
    def _far_off(self) -> bool:
        """Whether ``‖x‖² − 2 x·x̄ + ‖x̄‖²`` would lose the distance in the mean's own digits."""
        others = max(len(self.mean) - len(self.variances), 0)
        return self._mean_square > 1e3 * (float(self.variances.sum()) + self.rest * others)

    def coordinates(self, x: Array) -> tuple[Array, Array]:
        """Where rows ``(n, d)`` lie: coordinates and their squares ``(n, 2 r)``, and ``‖x − x̄‖²``.

        Each coordinate has mean 0 and variance 1 among rows like those of the fit.
        """
        xp = namespace(x)
        r = self.directions.shape[1]
        if self._far_off:
            centred = x - weights_like(x, self.mean)[None, :]
            p = xp.matmul(centred, weights_like(x, self.directions))
            return xp.concat([p, p * p], axis=1), _row_squares(xp, centred)
        squares = _row_squares(xp, x)
        both = xp.matmul(x, weights_like(x, self._products))
        if self.unit:
            lengths = xp.sqrt(squares)
            both *= (1.0 / xp.where(lengths > 0, lengths, xp.ones_like(lengths)))[:, None]
            squares = xp.where(squares > 0, xp.ones_like(squares), squares)
        p = both[:, :r] - weights_like(x, self._shift)[None, :]
        squares = (squares - 2.0 * both[:, r]) + self._mean_square
        return xp.concat([p, p * p], axis=1), squares

    @cached_property
    def energies(self) -> Rows:
        """Weights ``(2 r, 2)`` of `coordinates`: energy in the directions, and ``Σ p²``."""
        r = len(self.variances)
        weights = np.zeros((2 * r, 2), np.float32)
        weights[r:, 0], weights[r:, 1] = self.variances, 1.0
        return weights

    def distances(self, squares: Matrix, inside: Matrix, sum_of_squares: Matrix) -> Matrix:
        """The rest, and the squared Mahalanobis distance over d: ``(n, 2)``, about 1 in the fit.

        Args:
            squares: ``‖x − x̄‖² (n,)``.
            inside: energy in the directions ``(n,)``.
            sum_of_squares: of the coordinates ``(n,)``.
        """
        d, r = self.directions.shape
        # by rounding, what is left may fall below 0; beyond 1e30 a row is far, no matter how far
        left = np.minimum(np.maximum(squares - inside, 0.0) / self.rest, 1e30) * (r < d)
        return np.column_stack([left / max(d - r, 1), np.minimum(sum_of_squares + left, 1e30) / d])


def weights_like(x: Array, weights: NDArray[Any]) -> Array:
    """``weights`` in the library, on the device and in the precision of ``x``."""
    return like(x, weights.astype(host_dtype(x), copy=False))


def host_dtype(x: Array) -> type[np.floating[Any]]:
    """float64 for float64 rows, float32 for all others."""
    return np.float64 if "float64" in str(x.dtype) else np.float32


def _row_squares(xp: Any, rows: Array) -> Array:
    if isinstance(rows, np.ndarray):
        return np.einsum("ij,ij->i", rows, rows)
    return xp.sum(rows * rows, axis=1)
