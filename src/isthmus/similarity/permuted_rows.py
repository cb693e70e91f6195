"""Rows of both sides in permuted orders: nulls where single rows weigh too much for closed forms.

The closed forms of `null` take permutations as random rotations, or their tail as that of a gamma
distribution.  Both hold where all rows weigh about the same.  Where a few of them carry the sums
(heavy tails, giant rows), the rows that are at hand are permuted instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Floats, Matrix
from isthmus.moments import Moments
from isthmus.similarity.null import KernelShape, Null, permutation_null
from isthmus.similarity.spectra import Spectra
from isthmus.threads import single_thread

__all__ = ["PermutedRows", "PermutedSides"]


class PermutedSides:
    """Both sides with the rows of y in one order, as the statistics of the measures read them.

    Attributes:
        rows: the sides in the order they came in.
        cross: ``Uxᵀ M Uy (rx, ry)``: the cross-covariance in both eigenbases.
        lengths: ``(1/m) Σ ‖x_i‖² ‖y_i‖²`` of centred rows.
    """

    def __init__(self, rows: PermutedRows, order: NDArray[np.int64] | None) -> None:
        self.rows = rows
        x, y = rows.scores
        squares_x, squares_y = rows.squares
        if order is not None:
            y, squares_y = y[order], squares_y[order]
        self.cross: Matrix = x.T @ y / len(y)
        self.lengths = float(squares_x @ squares_y) / len(y)

    @property
    def whitened(self) -> Matrix:
        """``A^-½ M C^-½`` in the eigenbases."""
        x, y = self.rows.spectra.x, self.rows.spectra.y
        return self.cross / np.sqrt(x.values)[:, None] / np.sqrt(y.values)


class PermutedRows:
    """Rows of both sides at hand; they are factorised when they are first permuted.

    Args:
        x: rows ``(m, dx)`` of one side.
        y: the same items ``(m, dy)`` on the other.
        precision: relative rounding of the rows.
        permutations: how many orders are drawn.
        seed: of the orders.
    """

    def __init__(
        self,
        x: NDArray[np.floating],
        y: NDArray[np.floating],
        *,
        precision: float,
        permutations: int = 100,
        seed: int = 0,
    ) -> None:
        self._given, self._precision = (x, y), precision
        self.permutations, self.seed = permutations, seed
        self._squares_of_all: list[Floats] = []

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._given[0])

    def shapes(self, spectra: Spectra, x: Matrix, y: Matrix) -> tuple[KernelShape, KernelShape]:
        """Of the kernels of whitened rows whose directions weigh by ``x (rx,)`` and ``y (ry,)``.

        ``spectra`` are those of all rows, of which these are a sample: it gives ``delta``.  They
        are the same at every call.
        """
        shapes: list[KernelShape] = []
        for squares, weights in zip(self._whitened_squares(spectra), (x, y), strict=True):
            narrow = weights.astype(squares.dtype)
            diagonal = (squares[:, : len(narrow)] @ narrow).astype(np.float64)
            own = float((weights**2).sum())
            delta = float(diagonal @ diagonal) / own * spectra.n / len(squares)
            shapes.append(KernelShape.of_weights(weights, delta=delta, top=float(diagonal.max())))
        return shapes[0], shapes[1]

    def _whitened_squares(self, spectra: Spectra) -> list[Floats]:
        """``z² / n (m, r)`` of both sides, z the scores of unit variance on all rows' axes."""
        if not self._squares_of_all:
            means = spectra.second.mean_x, spectra.second.mean_y
            for rows, mean, eigen in zip(self._given, means, (spectra.x, spectra.y), strict=True):
                axes = (eigen.vectors / np.sqrt(eigen.values * spectra.n)).astype(rows.dtype)
                with single_thread:
                    scores = (rows - mean.astype(rows.dtype)) @ axes
                self._squares_of_all.append(np.square(scores, out=scores))
        return self._squares_of_all

    @cached_property
    def spectra(self) -> Spectra:
        """The factorisations of the sampled rows, without the others."""
        with single_thread:
            second = Moments.of(*self._centred, keep={"square", "xx", "xy", "yy"}).second()
        return Spectra(second, precision=self._precision)

    @cached_property
    def scores(self) -> tuple[Matrix, Matrix]:
        """Both sides in their own eigenbases, ``(m, rx)`` and ``(m, ry)``."""
        x, y = self._centred
        with single_thread:
            return x @ self.spectra.x.vectors, y @ self.spectra.y.vectors

    @cached_property
    def squares(self) -> tuple[Matrix, Matrix]:
        """Squared lengths ``(m,)`` of the centred rows of both sides."""
        x, y = (np.einsum("ij,ij->i", side, side) for side in self._centred)
        return x, y

    @cached_property
    def _centred(self) -> tuple[Matrix, Matrix]:
        x, y = (side.astype(np.float64) for side in self._given)
        return x - x.mean(axis=0), y - y.mean(axis=0)

    def null(self, closeness: Callable[[PermutedSides], float], as_known: Null) -> Null:
        """The null whose ``p`` is that of ``closeness`` among the permuted orders.

        Args:
            closeness: of one order; more is closer.
            as_known: the null in closed form, whose mean and spread stay.
        """
        with single_thread:
            value = closeness(PermutedSides(self, None))
        drawn = permutation_null(
            lambda order: closeness(PermutedSides(self, order)),
            self.rows,
            value - 1e-9 * abs(value),
            permutations=self.permutations,
            seed=self.seed,
        )
        method = f"{self.permutations} permutations of {self.rows:,} rows"
        return Null(mean=as_known.mean, sd=as_known.sd, p=drawn.p, method=method)
