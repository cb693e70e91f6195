"""Representational similarity analysis on a bounded sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.similarity.measure import PATTERN, Computed, RowMeasure
from isthmus.similarity.row_sample import RowSample, rows_given

__all__ = ["DECLARED", "Rdms", "correlation_distances", "rsa"]


def correlation_distances(rows: NDArray[np.floating], name: str = "x") -> Matrix:
    """``1 − r`` of all pairs of ``rows (m, d)``, r the correlation over dimensions: ``(m, m)``.

    For a bounded sample, in float64.

    Raises:
        InputError: for a row whose components are all equal, which has no correlation; always so
            where ``d`` is 1.
    """
    wide = np.asarray(rows, dtype=np.float64)
    centred = wide - wide.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    if not np.isfinite(norms).all():
        raise InputError(
            "the row is not finite, or its squares overflow float64",
            where=f"{name}, row {int(np.argmin(np.isfinite(norms)))}",
            mend="Repair or drop it, or scale the vectors down",
        )
    flat = norms <= 1e-12 * np.linalg.norm(wide, axis=1)
    if flat.any():
        raise InputError(
            f"{int(flat.sum())} of {len(wide)} sampled rows have components that are all equal, "
            "and correlate with nothing",
            where=name,
        )
    centred /= norms[:, None]
    return 1 - centred @ centred.T


@dataclass(frozen=True)
class Rdms:
    """Ranks of the distances of all pairs in two spaces, about their mean: ``(m, m)`` float32.

    The diagonal is 0, and every pair stands twice.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]

    @classmethod
    def of(cls, x: NDArray[np.floating], y: NDArray[np.floating]) -> Rdms:
        """From ``x (m, dx)`` and ``y (m, dy)``.

        Raises:
            InputError: as `correlation_distances`, for sides of unequal numbers of rows, or where
                all distances of a side are equal.
        """
        x, y = rows_given(x, "x"), rows_given(y, "y")
        if len(x) != len(y):
            raise InputError(f"the sides have {len(x)} and {len(y)} rows; they must pair")
        return cls(_ranked(x, "x"), _ranked(y, "y"))

    def correlation(self, order: NDArray[np.int64] | None = None) -> float:
        """Spearman's correlation, the rows of y taken in ``order``."""
        if order is None:
            return _cosine(self.x.astype(np.float64), self.y.astype(np.float64))
        return _cosine(self.x, self.y[order][:, order])

    def without(self, block: slice) -> float:
        """The correlation of the pairs of rows outside ``block``, ranks as they were.

        NaN where all their distances on one side are equal.
        """
        kept = np.ones(len(self.x), dtype=bool)
        kept[block] = False
        pairs = np.triu_indices(int(kept.sum()), 1)
        x, y = (side[kept][:, kept][pairs].astype(np.float64) for side in (self.x, self.y))
        return _cosine(x - x.mean(), y - y.mean())


def rsa(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Spearman correlation between the correlation distances of ``x (m, dx)`` and ``y (m, dy)``.

    Kriegeskorte et al. 2008.  Ties share the mean of their ranks.

    Raises:
        InputError: as `Rdms.of`.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity.rsa import rsa
        >>> x = np.random.default_rng(0).standard_normal((100, 8))
        >>> round(rsa(x, 3 * x[:, ::-1]), 6)
        1.0
    """
    return Rdms.of(x, y).correlation()


def _ranked(rows: NDArray[np.floating], name: str) -> NDArray[np.float32]:
    distances = correlation_distances(rows, name)
    pairs = np.triu_indices(len(distances), 1)
    # what differs by rounding alone is equal: in two dimensions there are but two distances
    values = np.round(distances[pairs], 12)
    from scipy.stats import rankdata  # takes half a second to import

    ranks = rankdata(values)
    ranks -= ranks.mean()
    if not ranks.any():
        raise InputError("all pairs of rows are at the same correlation distance", where=name)
    ranked = np.zeros(distances.shape, dtype=np.float32)
    ranked[pairs] = ranks  # quarters below 2²²: exact
    ranked += ranked.T
    return ranked


def _cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """NaN where a side is 0; products in the dtype of the ranks, totals in float64."""

    def inner(p: NDArray[np.floating], q: NDArray[np.floating]) -> float:
        return float(np.einsum("...j,...j->...", p, q).sum(dtype=np.float64))

    own = inner(a, a) * inner(b, b)
    return inner(a, b) / own**0.5 if own > 0 else math.nan


def _rsa(sample: RowSample) -> Computed:
    rdms = Rdms.of(sample.x, sample.y)
    value = rdms.correlation()
    null = sample.permuted(rdms.correlation, value)
    return Computed(value, null, sample.interval(value, rdms.without))


DECLARED = (
    RowMeasure(
        name="rsa",
        words="RSA (Spearman)",
        biased=False,
        definition="rsa.correlation-distance.spearman",
        formula="Spearman correlation of the correlation distances of all pairs of rows",
        source="Kriegeskorte, Mur and Bandettini 2008",
        higher_is_closer=True,
        low=-1.0,
        high=1.0,
        at_identity=1.0,
        invariances=PATTERN,
        preparation="seeded sample, each row centred over its dimensions",
        compute=_rsa,
    ),
)
