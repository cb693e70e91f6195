"""How near each row lies to its partner behind a map that was fitted without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.steps.procrustes import nearest_orthogonal
from isthmus.array_types import Mask, Matrix
from isthmus.numeric import unit_rows
from isthmus.threads import single_thread

__all__ = [
    "FOLDS",
    "Fit",
    "best_scores",
    "folds_of",
    "held_out_rows",
    "partner_scores",
    "rigid",
    "shrunken",
]


FOLDS = 4
_RIDGE = 0.3


def best_scores(x: Matrix, y: Matrix, seed: int, *, known: Mask | None = None) -> Matrix:
    """Scores behind a rotation or a shrunken least-squares map, whichever tells more.

    Args:
        x: one side ``(n, dx)``.
        y: the other side ``(n, dy)``, row by row the same items.
        seed: of the folds.
        known: the rows that maps are fitted on, and that say which map tells more ``(n,)``.
    """
    fold = folds_of(len(x), seed)
    known = np.ones(len(x), np.bool_) if known is None else known
    tried = [
        partner_scores(held_out_rows(x, y, fold, fit, known=known), y) for fit in (rigid, shrunken)
    ]
    return max(tried, key=lambda scores: float(np.median(scores[known])))


def folds_of(n: int, seed: int) -> NDArray[np.int64]:
    """The fold of each of ``n`` rows, of four."""
    return np.random.default_rng(seed).permutation(n) % FOLDS


class Fit(NamedTuple):
    """A matrix between centred rows."""

    matrix: Matrix
    mean_x: Matrix
    mean_y: Matrix

    def __call__(self, x: Matrix) -> Matrix:
        """Rows ``(n, dx)`` behind it."""
        return (x - self.mean_x) @ self.matrix + self.mean_y


def rigid(x: Matrix, y: Matrix) -> Fit:
    """The rotation or reflection that takes ``x (n, dx)`` nearest to ``y (n, dy)``."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    one, other = (x - mean_x).T, (y - mean_y).T
    if len(x) < min(len(one), len(other)):
        # within what the rows span alone: beyond it a rotation would be arbitrary
        with single_thread:
            (q, r), (p, s) = np.linalg.qr(one), np.linalg.qr(other)
            return Fit(q @ nearest_orthogonal(r @ s.T)[0] @ p.T, mean_x, mean_y)
    return Fit(nearest_orthogonal(one @ other.T)[0], mean_x, mean_y)


def shrunken(x: Matrix, y: Matrix) -> Fit:
    """Least squares with a ridge of 0.3 mean eigenvalues."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    square = (x - mean_x).T @ (x - mean_x)
    d = len(square)
    square[np.diag_indices(d)] += _RIDGE * max(float(np.trace(square)) / d, 1e-300)
    with single_thread:
        return Fit(np.linalg.solve(square, (x - mean_x).T @ (y - mean_y)), mean_x, mean_y)


def held_out_rows(
    x: Matrix,
    y: Matrix,
    fold: NDArray[np.int64],
    fit: Callable[[Matrix, Matrix], Fit],
    *,
    known: Mask | None = None,
) -> Matrix:
    """Every row of ``x`` behind the map that was fitted without its fold ``(n, dy)``.

    Args:
        x: one side ``(n, dx)``.
        y: the other side ``(n, dy)``, row by row the same items.
        fold: of each row ``(n,)``.
        fit: what fits a map.
        known: the rows that maps are fitted on ``(n,)``; all where None.
    """
    mapped = np.empty((len(x), y.shape[1]))
    for f in range(FOLDS):
        rest = fold != f if known is None else (fold != f) & known
        mapped[fold == f] = fit(x[rest], y[rest])(x[fold == f])
    return mapped


def partner_scores(mapped: Matrix, y: Matrix) -> Matrix:
    """Cosine with the own partner, in standard deviations of those with all others ``(n,)``."""
    mean = y.mean(axis=0)
    all_pairs = unit_rows(mapped - mean) @ unit_rows(y - mean).T
    own = np.diagonal(all_pairs).copy()
    others = len(own) - 1
    middle = (all_pairs.sum(axis=1) - own) / others
    spread = (np.einsum("ij,ij->i", all_pairs, all_pairs) - own**2) / others - middle**2
    return (own - middle) / np.sqrt(np.maximum(spread, 1e-12))
