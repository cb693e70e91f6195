"""Where the source vectors of a fit lie, in so few numbers that every vector can be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import checked_norms
from isthmus.moments import Moments
from isthmus.moments.covariances import SideMoments
from isthmus.numeric import Array, like, namespace, to_numpy
from isthmus.threads import single_thread

__all__ = ["Frame", "Readout", "host_dtype"]

Matrix = NDArray[np.float64]
Rows = NDArray[np.float32]

_BLOCK_ROWS = 512
_FAR = 1e30
_DIRECTIONS = 47  # and a column for the mean: BLAS likes whole tiles


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
    def of_moments(cls, side: SideMoments, *, unit: bool) -> Frame:
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
        r = min(_DIRECTIONS, max(d // 16 - 1, min(d, 7)))
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
            lengths = checked_norms(rows, "rows of the frame", "cosine")
            rows = rows / lengths.astype(rows.dtype)[:, None]
        side = Moments.of(rows, rows, keep={"square", "xx"}).second().x
        return cls.of_moments(side, unit=unit)

    def coordinates(self, rows: NDArray[Any]) -> tuple[Matrix, Matrix, Matrix]:
        """Where numpy rows ``(n, d)`` lie, computed step by step in float64.

        Returns:
            Coordinates ``(n, r)`` of mean 0 and variance 1 in the fit, then the energy in the other
            directions and the squared Mahalanobis distance over d, ``(n,)``, each about 1 there.
        """
        wide = np.asarray(rows, dtype=np.float64)
        if self.unit:
            lengths = np.linalg.norm(wide, axis=1, keepdims=True)
            wide = wide / np.where(lengths > 0, lengths, 1.0)
        centred = wide - self.mean
        p = centred @ self.directions.astype(np.float64)
        squared = p * p
        squares = np.square(centred).sum(axis=1)
        return p, *self.distances(squares, squared @ self.variances, squared.sum(axis=1))

    def readout(self, weights: NDArray[Any]) -> Readout:
        """The fast way to ``[p, p²] @ weights`` for coordinates ``p`` and ``weights (2 r, k)``."""
        return Readout(self, weights.astype(np.float64))

    def distances(self, squares: Matrix, inside: Matrix, total: Matrix) -> tuple[Matrix, Matrix]:
        """The last two of `coordinates` from ``‖x − x̄‖²``, the part of it inside, and ``Σ p²``."""
        d, r = self.directions.shape
        # by rounding, what is left may fall below 0; where squares overflowed, a row is far
        left = np.maximum(squares - inside, 0.0) * (r < d) / self.rest
        left = np.nan_to_num(left, nan=_FAR, posinf=_FAR)
        distance = np.nan_to_num((total + left) / d, nan=_FAR, posinf=_FAR)
        return np.minimum(left / max(d - r, 1), _FAR), np.minimum(distance, _FAR)


@dataclass(frozen=True, eq=False)
class Readout:
    """Linear functions of a frame's coordinates and their squares, by one thin product per row.

    With ``u = x D``, lengths ``l`` and ``s = x̄ D``, coordinates are ``p = u / l − s``; what is read
    off ``p`` and ``p²`` is expanded in ``u`` and ``u²``, so that per row only numbers remain that
    are as few as the functions.
    """

    frame: Frame
    weights: Matrix
    """``(2 r, k)``"""

    @cached_property
    def _step_by_step(self) -> bool:
        """Whether expansions would lose the coordinates, or the distance, in the mean's digits."""
        f = self.frame
        variance = float(f.variances.sum()) + f.rest * (len(f.mean) - len(f.variances))
        return bool(self._mean_square > 1e3 * variance or np.abs(self._shift).max() > 30)

    @cached_property
    def _shift(self) -> Matrix:
        return self.frame.mean.astype(np.float64) @ self.frame.directions

    @cached_property
    def _mean_square(self) -> float:
        return float(np.square(self.frame.mean, dtype=np.float64).sum())

    @cached_property
    def _products(self) -> Rows:
        """The directions and, as one more column, the mean."""
        f = self.frame
        return np.ascontiguousarray(np.hstack([f.directions, f.mean[:, None]]))

    @cached_property
    def _expanded(self) -> tuple[Rows, Rows, Matrix]:
        """Weights of ``u`` and ``u²``, and constants: of ``k`` functions and three energies."""
        f, r, k = self.frame, len(self.frame.variances), self.weights.shape[1]
        linear, squared = np.zeros((r + 1, k + 3)), np.zeros((r + 1, k + 3))
        linear[:r, :k], squared[:r, :k] = self.weights[:r], self.weights[r:]
        squared[:r, k], squared[:r, k + 1] = f.variances, 1.0
        constant = np.zeros(k + 3)
        if not self._step_by_step:
            shift = self._shift
            constant = shift**2 @ squared[:r] - shift @ linear[:r]
            linear[:r] -= 2 * shift[:, None] * squared[:r]
            linear[r, k + 2] = -2.0
            constant[k + 2] = self._mean_square
        return (
            np.ascontiguousarray(linear.T.astype(np.float32)),
            np.ascontiguousarray(squared.T.astype(np.float32)),
            constant,
        )

    def __call__(self, x: Array) -> tuple[Matrix, Matrix, Matrix]:
        """The functions of rows ``(n, d)`` of any library, on the host in float64.

        Returns:
            ``(k, n)``, then the energy in the other directions and the distance as `coordinates`.
        """
        xp = namespace(x)
        inverse = np.ones(int(x.shape[0]))
        if self._step_by_step:
            if self.frame.unit:
                lengths = xp.linalg.vector_norm(x, axis=1, keepdims=True)
                x = x / xp.where(lengths > 0, lengths, xp.ones_like(lengths))
            x = x - _weights_like(x, self.frame.mean)[None, :]
        u, squares = _product(xp, x, _weights_like(x, self._products))
        if self.frame.unit and not self._step_by_step:
            some = squares > 0
            inverse = 1.0 / np.sqrt(np.where(some, squares, 1.0))
            squares = some.astype(np.float64)
        linear, squared, constant = self._expanded
        # one function after another: numpy is quick along long axes
        read = to_numpy(xp.matmul(_weights_like(x, linear), u.T), np.float64) * inverse
        u *= u
        inverse *= inverse
        read += to_numpy(xp.matmul(_weights_like(x, squared), u.T), np.float64) * inverse
        read += constant[:, None]
        squares += read[-1]
        return read[:-3], *self.frame.distances(squares, read[-3], read[-2])


def _weights_like(x: Array, weights: NDArray[Any]) -> Array:
    """``weights`` in the library, on the device and in the precision of ``x``."""
    return like(x, weights.astype(host_dtype(x), copy=False))


def host_dtype(x: Array) -> type[np.floating[Any]]:
    """float64 for float64 rows, float32 for all others."""
    return np.float64 if "float64" in str(x.dtype) else np.float32


def _product(xp: Any, x: Array, weights: Array) -> tuple[Array, Matrix]:
    """``x @ weights``, and the squared lengths of the rows on the host in float64."""
    if not isinstance(x, np.ndarray):
        return xp.matmul(x, weights), to_numpy(xp.sum(x * x, axis=1), np.float64)
    product = np.empty((len(x), weights.shape[1]), x.dtype)
    squares = np.empty(len(x))
    for start in range(0, len(x), _BLOCK_ROWS):
        # a block is read twice while it is in the second-level cache
        block = x[start : start + _BLOCK_ROWS]
        squares[start : start + _BLOCK_ROWS] = np.einsum("ij,ij->i", block, block)
        np.matmul(block, weights, out=product[start : start + _BLOCK_ROWS])
    return product, squares
