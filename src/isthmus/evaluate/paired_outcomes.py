"""Intervals of means, differences and ratios over queries that every arm answered.

A plain bootstrap knows only outcomes that were seen: where two arms differ on three of sixty
queries, many resamples hold none of them, and the interval is too narrow or a single point.  Here
each query has a gamma weight (the Bayesian bootstrap, Rubin 1981), and half a query more stands in
each corner of what a pair of outcomes can be: both best, one best and the other worst, both worst.
For outcomes of 0 and 1 that is Jeffreys' posterior of the table of paired outcomes, a Dirichlet of
the counts plus one half; a metric between 0 and 1 needs no cells.  Weights of few queries are
slightly wider, in place of Student's correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Estimate, Resampling

__all__ = ["PairedOutcomes"]

Draws = NDArray[np.float64]

_CORNER = 0.5  # of a query, in each corner (Jeffreys)
_STUDENT = 3.0
_LEAST_SHAPE = 0.5
_BLOCK_CELLS = 2**22


class PairedOutcomes:
    """Outcomes of the same queries in several columns, and draws of their means.

    Args:
        values: one row per query and one column per arm and metric ``(nq, columns)``: metrics
            whose worst is 0 and best 1, or changes of such.
        resampling: number of draws, level and seed.
        best: the best outcome of each column ``(columns,)``, 1 if not given: the share of a
            hundred relevant items among ten is never more than a tenth.
        groups: ``(nq,)``, for queries that are not independent: a whole group has one weight.

    Raises:
        InputError: for values that are not finite, and groups that do not fit them.

    Example:
        >>> import numpy as np
        >>> old, new = np.ones(60), np.ones(60)
        >>> old[:2] = 0
        >>> gain = PairedOutcomes(np.column_stack([old, new])).difference(1, 0)
        >>> gain.low < 0 < gain.value < gain.high
        True
    """

    def __init__(
        self,
        values: NDArray[np.float64],
        resampling: Resampling | None = None,
        *,
        best: NDArray[np.float64] | None = None,
        groups: Sequence[Any] | NDArray[Any] | None = None,
    ) -> None:
        how = resampling or Resampling()
        if values.ndim != 2 or not len(values):
            raise InputError(
                f"expected one row per query, found shape {values.shape}", where="values"
            )
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values).all(axis=1)))
            raise InputError("a value is not finite", where=f"values, row {row}")
        if how.resamples < 1:
            raise InputError("at least one resample is needed", where="resamples")
        self.level = how.level
        self.means = np.array([column.mean() for column in values.T])
        """The mean of each column."""
        sums = np.column_stack([values, np.ones(len(values))])
        if groups is not None:
            sums = _of_groups(sums, groups)
        n, size = len(sums), len(values) / len(sums)
        rng = np.random.default_rng(how.seed)
        self._corners = size * rng.standard_gamma(_CORNER, (how.resamples, 4))
        shape = max(_LEAST_SHAPE, 1 - _STUDENT / n)
        totals = np.empty((how.resamples, sums.shape[1]))
        step = max(1, _BLOCK_CELLS // n)
        for start in range(0, how.resamples, step):
            rows = slice(start, min(start + step, how.resamples))
            totals[rows] = rng.standard_gamma(shape, (rows.stop - start, n)) @ sums
        self._best = np.ones(values.shape[1]) if best is None else best
        self._sums = totals[:, :-1]
        self._total = totals[:, -1] + self._corners.sum(axis=1)

    @property
    def draws(self) -> int:
        """Number of draws."""
        return len(self._total)

    def drawn_mean(self, column: int) -> Draws:
        """Draws of the mean of a column ``(resamples,)``."""
        good = self._best[column] * (self._corners[:, 0] + self._corners[:, 1])
        return (self._sums[:, column] + good) / self._total

    def drawn_difference(self, one: int, other: int) -> Draws:
        """Draws of the mean of one column minus that of another ``(resamples,)``."""
        if one == other:
            return np.zeros(self.draws)
        apart = self._best[one] * self._corners[:, 1] - self._best[other] * self._corners[:, 2]
        return (self._sums[:, one] - self._sums[:, other] + apart) / self._total

    def mean(self, column: int) -> Estimate:
        """The mean of a column."""
        return self._estimate(self.means[column], self.drawn_mean(column))

    def difference(self, one: int, other: int) -> Estimate:
        """The mean of one column minus that of another."""
        value = self.means[one] - self.means[other]
        return self._estimate(value, self.drawn_difference(one, other))

    def ratio(self, one: int, other: int, undefined: str) -> Estimate:
        """The mean of one column as a share of that of another.

        Without a positive denominator there is no value, and ``undefined`` is the reason.
        """
        if self.means[other] <= 0:
            return Estimate(value=None, reason=undefined)
        both, first, second, _ = self._corners.T
        above = self._sums[:, one] + self._best[one] * (both + first)
        drawn = above / (self._sums[:, other] + self._best[other] * (both + second))
        return self._estimate(self.means[one] / self.means[other], drawn)

    def share_of_gain(self, one: int, best: int, base: int, undefined: str) -> Estimate:
        """What ``one`` gains over ``base`` as a share of what ``best`` gains over it.

        Where ``best`` is not better there is no value; where it is not in some draws there is a
        value but no interval, since the ratio has no finite spread.
        """
        gained = self.means[one] - self.means[base]
        possible = self.means[best] - self.means[base]
        if possible <= 0:
            return Estimate(value=None, reason=undefined)
        value = float(gained / possible)
        if one == best:
            return Estimate(value=1.0, low=1.0, high=1.0)
        drawn = self.drawn_difference(best, base)
        share = float(np.mean(drawn <= 0))
        if share > 0:
            return Estimate(value=value, reason=f"{undefined} in {share:.1%} of resamples")
        # the corners of the two gains are not the same outcomes
        _, first, second, _ = np.roll(self._corners, 1, axis=0).T
        apart = self._best[one] * first - self._best[base] * second
        above = (self._sums[:, one] - self._sums[:, base] + apart) / self._total
        return self._estimate(value, above / drawn)

    def at_once(self, differences: Mapping[str, tuple[int, int]]) -> dict[str, Estimate]:
        """Differences whose intervals hold all at once: the best of many is not lucky by itself.

        Each interval is as likely as the others to miss (Beran 1988), and all hold together in the
        share of draws that is the level.  ``differences``: for each name, one column and another.
        """
        drawn = {name: self.drawn_difference(*pair) for name, pair in differences.items()}
        if not drawn:
            return {}
        n = len(self._total)
        least = np.full(n, 0.5)
        for draws in drawn.values():
            place = np.empty(n)
            place[np.argsort(draws, kind="stable")] = (np.arange(n) + 0.5) / n
            least = np.minimum(least, np.minimum(place, 1 - place))
        tail = float(np.quantile(least, 1 - self.level))
        found: dict[str, Estimate] = {}
        for name, (one, other) in differences.items():
            value = float(self.means[one] - self.means[other])
            low, high = np.quantile(drawn[name], [tail, 1 - tail])
            found[name] = Estimate(
                value=value, low=min(float(low), value), high=max(float(high), value)
            )
        return found

    def _estimate(self, value: float, drawn: Draws) -> Estimate:
        low, high = np.quantile(drawn, [(1 - self.level) / 2, (1 + self.level) / 2])
        value = float(value)
        return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))


def _of_groups(
    sums: NDArray[np.float64], groups: Sequence[Any] | NDArray[Any]
) -> NDArray[np.float64]:
    """Sums over the queries of each group."""
    if len(groups) != len(sums):
        raise InputError(f"{len(groups)} groups for {len(sums)} queries", where="groups")
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    found = np.zeros((member.max() + 1, sums.shape[1]))
    np.add.at(found, member, sums)
    return found
