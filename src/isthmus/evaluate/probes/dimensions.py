"""What the single dimensions hold: nothing, the same as another, outliers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from isthmus.evaluate.probes.result import ProbeResult
from isthmus.moments import SideMoments

__all__ = ["Dimensions", "dead_dimensions", "dimensions", "duplicated_dimensions", "kurtosis"]

_DEAD = 1e-8
_SAME = 0.9999
_BLOCK = 512
_FEWEST_ROWS = 10


class Dimensions(ProbeResult):
    """The faults of single dimensions, by their indices."""

    dead: tuple[int, ...]
    """Constant: variance below 1e-8 of the median variance."""
    duplicated: tuple[tuple[int, ...], ...]
    """Groups of dimensions that correlate to ±0.9999 or more; not looked for in under 10 rows."""
    variances: tuple[float, ...]
    """The variance of every dimension ``(d,)``."""
    kurtosis_median: float
    """Excess kurtosis over the live dimensions; 0 for a normal distribution."""
    kurtosis_largest: float
    kurtosis_at: int
    """The dimension with the largest excess kurtosis."""
    largest_variance_share: float
    """The share of the variance that the widest dimension holds."""

    @property
    def live(self) -> int:
        """How many dimensions are not dead."""
        return len(self.variances) - len(self.dead)

    @property
    def redundant(self) -> int:
        """How many dimensions repeat an earlier one."""
        return sum(len(group) - 1 for group in self.duplicated)


def dimensions(side: SideMoments, rows: NDArray[np.floating]) -> Dimensions:
    """Look at every dimension by itself and beside the others.

    Args:
        side: moments of every row; duplicates are looked for only where the covariance was kept.
        rows: a sample ``(n, d)``, for the kurtosis.
    """
    dead = dead_dimensions(side.variance)
    tails = kurtosis(rows)
    alive = np.setdiff1d(np.arange(len(side.variance)), dead)
    at = int(alive[np.argmax(tails[alive])]) if len(alive) else 0
    total = float(side.variance.sum())
    return Dimensions(
        dead=tuple(dead.tolist()),
        # of a handful of rows, some columns correlate by chance
        duplicated=()
        if side.covariance is None or side.n < _FEWEST_ROWS
        else tuple(duplicated_dimensions(side.covariance, dead)),
        variances=tuple(side.variance.tolist()),
        kurtosis_median=float(np.median(tails[alive])) if len(alive) else 0.0,
        kurtosis_largest=float(tails[at]),
        kurtosis_at=at,
        largest_variance_share=float(side.variance.max()) / total if total > 0 else 0.0,
    )


def dead_dimensions(variance: NDArray[np.float64]) -> NDArray[np.int64]:
    """The dimensions whose variance is below 1e-8 of the median of those that vary."""
    varying = variance[variance > 0]
    if not len(varying):
        return np.arange(len(variance))
    return np.flatnonzero(variance <= _DEAD * float(np.median(varying)))


def duplicated_dimensions(
    covariance: NDArray[np.float64], dead: NDArray[np.int64]
) -> list[tuple[int, ...]]:
    """Groups of live dimensions that correlate, up to sign, to 0.9999 or more."""
    alive = np.setdiff1d(np.arange(len(covariance)), dead)
    if len(alive) < 2:
        return []
    scale = 1.0 / np.sqrt(np.diagonal(covariance)[alive])
    one: list[NDArray[np.int64]] = []
    other: list[NDArray[np.int64]] = []
    for start in range(0, len(alive), _BLOCK):
        block = alive[start : start + _BLOCK]
        related = covariance[np.ix_(block, alive)] * scale[start : start + _BLOCK, None] * scale
        i, j = np.nonzero(np.abs(related) >= _SAME)
        apart = i + start < j
        one.append(i[apart] + start)
        other.append(j[apart])
    edges = np.concatenate(one), np.concatenate(other)
    if not len(edges[0]):
        return []
    graph = coo_array((np.ones(len(edges[0])), edges), shape=(len(alive), len(alive)))
    _, member = connected_components(graph, directed=False)
    sizes = np.bincount(member)
    return [tuple(alive[member == g].tolist()) for g in np.flatnonzero(sizes > 1)]


def kurtosis(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Excess kurtosis of every column of ``rows (n, d)``, ``m₄ / m₂² − 3``; 0 where constant."""
    result = np.zeros(rows.shape[1])
    for start in range(0, rows.shape[1], _BLOCK):
        block = rows[:, start : start + _BLOCK].astype(np.float64)
        block -= block.mean(axis=0)
        square = block**2
        second = square.mean(axis=0)
        # what rounding leaves of a constant column has no shape
        used = second > 1e-30 * max(float(second.max(initial=0.0)), 1e-300)
        fourth = (square[:, used] / second[used]) ** 2
        result[start : start + _BLOCK][used] = fourth.mean(axis=0) - 3.0
    return result
