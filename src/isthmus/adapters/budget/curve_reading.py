"""What a measured learning curve says: where it levels off and what more pairs are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.adapters.budget.encodings import Encodings
from isthmus.adapters.budget.power_law import FEWEST_BUDGETS, PowerLaw, fit_power_law
from isthmus.array_types import Values
from isthmus.evaluate import Estimate, estimate, parse_metric
from isthmus.notebook import ShownInNotebook

__all__ = ["LearningCurve", "read_off"]


_FARTHEST = 1e9
_OVERSTATED = 4.0
_LATEST = 5  # with few pairs for the width, curves do not follow the law yet


@dataclass(frozen=True, eq=False)
class LearningCurve(ShownInNotebook):
    """Held-out quality by number of pairs, and what follows from it."""

    recipe: str
    metric: str
    n_queries: int
    own_vectors: bool
    """Whether held-out items looked for their own vectors; otherwise queries for their answers."""
    budgets: tuple[int, ...]
    quality: tuple[Estimate, ...]
    """The quality at each budget; intervals are over queries."""
    values: Values
    """The quality of each query at each budget ``(nq, budgets)``, over orders of the pairs."""
    law: tuple[float, float, float]
    """a, b and c of ``a - b n^(-c)``."""
    misfit: float
    """The largest distance of the law from the values it was fitted to, those of the five largest
    budgets."""
    tolerance: float
    asymptote: Estimate
    """The limit that the law gives, without an interval: so far from the data none would hold."""
    enough: Estimate
    """The smallest number of pairs within ``tolerance`` of the asymptote; as it, without one."""
    remaining: Estimate
    """Asymptote minus the law at the largest budget; as it, without one."""
    doubling: Estimate
    """What twice the largest budget would add, by the law, which real curves fall short of: the
    interval is wider by what a law of the smaller budgets misses of the largest, and reaches down
    to a quarter of the value."""
    answer: str
    """Whether more pairs are worth it, in one sentence."""

    @property
    def asked(self) -> str:
        """What searches the index, in words: queries of their own, or the items themselves."""
        return "items, each its own vector" if self.own_vectors else "queries"

    @property
    def encodings(self) -> tuple[Encodings, ...]:
        """What enough pairs cost in texts that the new model encodes, with queries and without."""
        if self.enough.value is None:
            return ()
        pairs = int(float(f"{self.enough.value:.2g}"))
        return tuple(Encodings.of(pairs, queries=queries) for queries in (True, False))

    def __str__(self) -> str:
        lines = [f"{self.recipe}: {self.metric} of {self.n_queries:,} unseen {self.asked}"]
        lines += [f"{n:>9,} pairs  {q}" for n, q in zip(self.budgets, self.quality, strict=True)]
        lines += [f"asymptote        {self.asymptote}", f"enough           {_pairs(self.enough)}"]
        lines += [f"to encode        {said}" for said in self.encodings]
        return "\n".join([*lines, self.answer])


def read_off(
    recipe: str,
    metric: str,
    budgets: Sequence[int],
    values: Values,
    means: Values,
    *,
    tolerance: float,
    level: float,
    chance: float | None,
) -> LearningCurve:
    """What a measured curve says.

    Args:
        recipe: its name.
        metric: what was measured.
        budgets: numbers of pairs, ascending, at least three.
        values: of each query and budget ``(nq, budgets)``.
        means: of each resample of the queries and budget ``(m, budgets)``.
        tolerance: how near to the asymptote is near enough, in units of the metric.
        level: of the intervals.
        chance: the metric of a map that knows nothing; None where nobody can tell.
    """
    bound = parse_metric(metric).metric.bounds[1]
    observed = values.mean(axis=0)
    late = budgets[-_LATEST:]
    law, resampled = (
        fit_power_law(late, v[..., -_LATEST:], bound=bound) for v in (observed, means)
    )
    last = float(budgets[-1])
    measured = tuple(estimate(float(v), means[:, i], level=level) for i, v in enumerate(observed))
    added = float((law.at(2 * last) - law.at(last))[0])
    missed = _missed(late, observed[-_LATEST:], bound)
    spread = estimate(added, resampled.at(2 * last) - resampled.at(last), level=level)
    doubling = _widened(spread, missed)
    enough = _enough(law, tolerance)
    return LearningCurve(
        recipe=recipe,
        metric=metric,
        n_queries=len(values),
        own_vectors=chance is not None,
        budgets=tuple(budgets),
        quality=measured,
        values=values,
        law=(float(law.a[0]), float(law.b[0]), float(law.c[0])),
        misfit=float(np.abs([law.at(n)[0] for n in late] - observed[-_LATEST:]).max()),
        tolerance=tolerance,
        asymptote=_by_law(float(law.a[0])),
        enough=enough,
        remaining=_by_law(float((law.a - law.at(last))[0])),
        doubling=doubling,
        answer=_answer(measured[-1], doubling, enough, int(last), tolerance, metric, chance),
    )


def _answer(
    best: Estimate,
    doubling: Estimate,
    enough: Estimate,
    last: int,
    tolerance: float,
    metric: str,
    chance: float | None,
) -> str:
    low, high = doubling.low, doubling.high
    assert best.low is not None
    assert low is not None
    assert high is not None
    if chance is not None and best.low <= chance:
        return (
            f"nothing was learned: {metric} with {last:,} pairs is {best}, chance {chance:.3f}; "
            "check that the rows are aligned"
        )
    gain = f"twice the {last:,} pairs would add {doubling} to {metric}"
    if low > tolerance:
        return f"more pairs are worth it: {gain}; enough would be {_pairs(enough)}"
    if high <= tolerance:
        nothing = f"more pairs add nothing: {gain}, at most the tolerance of {tolerance:g}"
        if chance is None:
            return nothing
        return (
            f"to find an item's own vector {nothing}; what queries find can still grow with them, "
            "and only queries with their answers show it"
        )
    return f"it is open whether more pairs are worth it: {gain}"


def _pairs(n: Estimate) -> str:
    """A number of pairs to two digits."""
    if n.value is None:
        return f"unknown: {n.reason}"
    return f"about {float(f'{n.value:.2g}'):,.0f} pairs, {n.reason}"


def _missed(budgets: Sequence[int], observed: Values, bound: float) -> float:
    """How far the law of all smaller budgets misses what the largest adds; 0 of too few of them."""
    if len(budgets) <= FEWEST_BUDGETS:
        return 0.0
    before = fit_power_law(budgets[:-1], observed[:-1], bound=bound)
    predicted = float((before.at(budgets[-1]) - before.at(budgets[-2]))[0])
    return abs(predicted - float(observed[-1] - observed[-2]))


def _widened(gain: Estimate, missed: float) -> Estimate:
    """The interval of an extrapolated gain.

    Of 36 draws of three real upgrades at 800 pairs, intervals over queries alone held the mean gain
    of 1,600 pairs in 19, these in all (`python -m benchmarks.curve_coverage`).
    """
    if gain.value is None or gain.low is None or gain.high is None:
        return gain
    quarter = gain.value / _OVERSTATED - (gain.value - gain.low)
    ends = {"low": min(gain.low - missed, quarter), "high": gain.high + missed}
    return gain.model_copy(update=ends)


def _by_law(value: float) -> Estimate:
    return Estimate(value=value, reason="by the law alone")


def _enough(law: PowerLaw, tolerance: float) -> Estimate:
    value = float(law.enough(tolerance)[0])
    if value > _FARTHEST:
        return Estimate(value=None, reason="the curve has not begun to level off")
    return _by_law(value)
