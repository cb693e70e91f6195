"""Linear functions of where source vectors lie, quick enough that every vector is looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Embeddings, Matrix
from isthmus.numeric import Array, like, namespace, to_numpy
from isthmus.scipy_later import linalg
from isthmus.spaces.profile import FAR, Profile
from isthmus.threads import product_threads, single_thread

__all__ = ["Readout", "host_dtype"]


_BLOCK_ROWS = 512
_LONG = 1e15


@dataclass(frozen=True, eq=False)
class Readout:
    """Linear functions of coordinates in a profile and of their squares, by one thin product a row.

    With ``u = x D``, lengths ``l`` and ``s = x̄ D``, coordinates are ``p = u / l − s``; what is read
    off ``p`` and ``p²`` is expanded in ``u`` and ``u²``, so that per row only numbers remain that
    are as few as the functions.
    """

    profile: Profile
    weights: Matrix
    """``(2 r, k)``"""

    @cached_property
    def _step_by_step(self) -> bool:
        """Whether expansions would lose the coordinates, or the distance, in the mean's digits."""
        f = self.profile
        variance = float(f.variances.sum()) + f.rest * (len(f.mean) - len(f.variances))
        return bool(self._mean_square > 1e3 * variance or np.abs(self._shift).max() > 30)

    @cached_property
    def _shift(self) -> Matrix:
        return self.profile.mean.astype(np.float64) @ self.profile.whitening

    @cached_property
    def _mean_square(self) -> float:
        return float(np.square(self.profile.mean, dtype=np.float64).sum())

    @cached_property
    def _products(self) -> Embeddings:
        """The directions and, as one more column, the mean."""
        f = self.profile
        return np.ascontiguousarray(np.hstack([f.whitening, f.mean[:, None]]))

    @cached_property
    def _expanded(self) -> tuple[Embeddings, Embeddings, Matrix]:
        """Weights of ``u`` and ``u²``, and constants: of ``k`` functions and three energies."""
        f, r, k = self.profile, len(self.profile.variances), self.weights.shape[1]
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
            if self.profile.unit:
                lengths = xp.linalg.vector_norm(x, axis=1, keepdims=True)
                x = x / xp.where(lengths > 0, lengths, xp.ones_like(lengths))
            x = x - _weights_like(x, self.profile.mean)[None, :]
        u, squares = _product(xp, x, _weights_like(x, self._products))
        if self.profile.unit and not self._step_by_step:
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
        return read[:-3], *self.profile.distances(squares, read[-3], read[-2])

    @property
    def constants(self) -> list[float]:
        """``(k,)``, of the functions."""
        return self._expanded[2][:-3].tolist()

    @cached_property
    def one(self) -> Callable[[Embeddings], tuple[list[float], float, float] | None]:
        """The same of one float32 vector ``(d,)``: a closure, for callers who count microseconds.

        The functions lack their `constants`, which callers add to constants of their own.  It
        returns None for vectors that only the careful way can tell about: of length 0 or too
        long for squares, and all of them where the profile asks for one step after another.
        """
        f = self.profile
        if self._step_by_step:
            return lambda x: None
        products, unit, threads = self._products, f.unit, product_threads()
        linear, squared, constant = self._expanded
        linear, squared = linear.T.copy(), squared.T.copy()
        *_, missing, offset, mean_square = constant.tolist()
        (d, r), rest, energy = f.full.shape, f.rest, mean_square - missing
        outside, beyond = float(r < d) / rest, 1.0 / max(d - r, 1)
        norm, scale = cast(
            "tuple[Any, Any]", linalg.get_blas_funcs(("nrm2", "scal"), dtype=np.float32)
        )

        def read(x: Embeddings) -> tuple[list[float], float, float] | None:
            length = norm(x)
            if not 0.0 < length < _LONG:
                return None
            if threads() == 1:
                u = x.dot(products)
            else:
                with single_thread:
                    u = x.dot(products)
            if unit:
                scale(1.0 / length, u)
            found = u.dot(linear)
            u *= u
            found += u.dot(squared)
            *functions, inside, total, along = found.tolist()
            left = (1.0 if unit else length * length) + along - inside + energy
            left = left * outside if left > 0.0 else 0.0
            distance = (total + offset + left) / d
            # of a vector that far out the careful way says how far
            return (functions, left * beyond, distance) if distance < FAR else None

        return read


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
