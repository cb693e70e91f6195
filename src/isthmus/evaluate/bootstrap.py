"""Intervals by resampling queries: every arm sees the same resampled queries (paired bootstrap)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from isthmus.errors import InputError

__all__ = ["Estimate", "Resampling", "estimate", "resampled_means"]

_BLOCK_CELLS = 2**22


class Estimate(BaseModel):
    """A value with its interval, or the reason why one of them does not exist.

    Example:
        >>> str(Estimate(value=0.8, low=0.75, high=0.85))
        '0.800 [0.750, 0.850]'
        >>> str(Estimate(value=None, reason="the new model finds nothing"))
        'undefined: the new model finds nothing'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined: {self.reason}"
        if self.low is None or self.high is None:
            return f"{self.value:.3f} (no interval: {self.reason})"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def moved(self, by: float) -> Estimate:
        """The estimate of a share that is larger by so much, from 0 to 1.

        Example:
            >>> str(Estimate(value=0.8, low=0.75, high=0.9).moved(0.15))
            '0.950 [0.900, 1.000]'
        """
        ends = (
            None if end is None else min(max(end + by, 0.0), 1.0)
            for end in (self.value, self.low, self.high)
        )
        value, low, high = ends
        return Estimate(value=value, low=low, high=high, reason=self.reason)

    @property
    def signed(self) -> str:
        """As a string, with the sign of every number: of a difference.

        Example:
            >>> Estimate(value=0.05, low=-0.01, high=0.11).signed
            '+0.050 [-0.010, +0.110]'
        """
        if self.value is None or self.low is None or self.high is None:
            return str(self)
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class Resampling:
    """How the intervals of means over queries are made.

    Example:
        >>> Resampling(level=0.9)
        Resampling(resamples=2000, level=0.9, seed=0)
    """

    resamples: int = 2000
    """Draws of as many queries as there are, with replacement."""
    level: float = 0.95
    """Share of the resampled means that an interval holds."""
    seed: int = 0
    """Seed of the draws."""


def resampled_means(
    values: NDArray[np.float64],
    *,
    resamples: int = 2000,
    seed: int = 0,
    groups: Sequence[Any] | NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Means of ``values (nq, columns)`` over resampled queries: ``(resamples, columns)`` float64.

    Every column sees the same resample.  With ``groups (nq,)``, whole groups are drawn instead of
    single queries (cluster bootstrap), for queries that are not independent.  Raises `InputError`
    for values that are not finite.

    Example:
        >>> import numpy as np
        >>> means = resampled_means(np.array([[0.0], [1.0], [1.0]]), resamples=500)
        >>> means.shape, bool(abs(means.mean() - 2 / 3) < 0.05)
        ((500, 1), True)
    """
    if values.ndim != 2 or not len(values):
        raise InputError(f"expected one row per query, found shape {values.shape}", where="values")
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise InputError("a value is not finite", where=f"values, row {row}")
    if resamples < 1:
        raise InputError("at least one resample is needed", where="resamples")
    sums = np.column_stack([values, np.ones(len(values))])
    if groups is not None:
        if len(groups) != len(values):
            raise InputError(f"{len(groups)} groups for {len(values)} queries", where="groups")
        _, member = np.unique(np.asarray(groups), return_inverse=True)
        of_queries = sums
        sums = np.zeros((member.max() + 1, sums.shape[1]))
        np.add.at(sums, member, of_queries)
    rng = np.random.default_rng(seed)
    n = len(sums)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, _BLOCK_CELLS // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        totals = times.astype(np.float64) @ sums
        means[start : start + size] = totals[:, :-1] / totals[:, -1:]
    return means


def estimate(value: float, resampled: NDArray[np.float64], *, level: float = 0.95) -> Estimate:
    """``value`` with the percentile interval of its ``resampled`` counterparts.

    Example:
        >>> import numpy as np
        >>> str(estimate(0.5, np.linspace(0.4, 0.6, 101)))
        '0.500 [0.405, 0.595]'
    """
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value=float(value), low=float(low), high=float(high))
