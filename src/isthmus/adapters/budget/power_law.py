"""The saturating power law of a learning curve: ``q(n) = a - b n^(-c)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Values
from isthmus.errors import InputError

__all__ = ["FEWEST_BUDGETS", "PowerLaw", "fit_power_law"]


FEWEST_BUDGETS = 3
"""The law has as many parameters."""

_RATES = np.geomspace(0.05, 3.0, 60)


class PowerLaw(NamedTuple):
    """``q(n) = a - b n^(-c)``; every field may hold one number or one for each resample."""

    a: Values
    """The asymptote, at most the metric's bound."""
    b: Values
    """How far one pair stays below the asymptote; 0 or more."""
    c: Values
    """How fast the curve approaches its asymptote."""

    def at(self, n: float) -> Values:
        """Quality with ``n`` pairs."""
        return self.a - self.b * n**-self.c

    def enough(self, tolerance: float) -> Values:
        """The smallest n within ``tolerance`` of the asymptote; may be infinite."""
        with np.errstate(over="ignore", divide="ignore"):
            return np.maximum((self.b / tolerance) ** (1 / self.c), 1.0)


def fit_power_law(
    budgets: NDArray[Any] | Sequence[int], values: Values, *, bound: float = 1.0
) -> PowerLaw:
    """Least squares over a grid of rates, exact in the two linear parameters.

    Args:
        budgets: ``(k,)`` numbers of pairs, at least three different ones.
        values: quality at each, ``(k,)``; or ``(m, k)`` for as many curves.
        bound: the largest value that the metric can take.

    Raises:
        InputError: for fewer than three budgets.
    """
    n = np.asarray(budgets, dtype=np.float64)
    curves = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if len(np.unique(n)) < FEWEST_BUDGETS or curves.shape[1] != len(n) or not (n > 0).all():
        raise InputError(
            f"a curve needs at least {FEWEST_BUDGETS} different positive budgets with a value "
            f"each, got budgets {n.tolist()} and values of shape {curves.shape}"
        )
    best = np.full(len(curves), np.inf)
    found = np.zeros((3, len(curves)))
    mean = _row_sums(curves) / len(n)
    for rate in _RATES:
        fallen = n**-rate
        along = _row_sums((curves - mean[:, None]) * (fallen - fallen.mean()))
        slope = -along / fallen.var() / len(n)
        b = np.maximum(slope, 0.0)
        a = mean + b * fallen.mean()
        over = a > bound
        # on the bound, b is what least squares leaves when a is held there
        held = np.maximum(_row_sums((bound - curves) * fallen) / (fallen @ fallen), 0.0)
        a, b = np.where(over, bound, a), np.where(over, held, b)
        error = _row_sums((a[:, None] - b[:, None] * fallen - curves) ** 2)
        better = error < best - 1e-15
        best[better] = error[better]
        found[:, better] = np.stack([a, b, np.full(len(a), rate)])[:, better]
    return PowerLaw(*found)


def _row_sums(table: Values) -> Values:
    """Column after column, so that no row's sum depends on how many rows stand beside it."""
    total = np.zeros(len(table))
    for column in table.T:
        total += column
    return total
