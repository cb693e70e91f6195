"""What a measured learning curve says: where it levels off and what more pairs are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.budget.power_law import PowerLaw, fit_power_law
from isthmus.evaluate import Estimate, estimate, parse_metric
from isthmus.notebook import ShownInNotebook

__all__ = ["LearningCurve", "read_off"]

Values = NDArray[np.float64]

_FARTHEST = 1e9
_OVERSTATED = 4.0
_LATEST = 5  # with few pairs for the width, curves do not follow the law yet


@dataclass(frozen=True, eq=False)
class LearningCurve(ShownInNotebook):
    """Held-out quality by number of pairs, and what follows from it."""

    recipe: str
    metric: str
    n_queries: int
    budgets: tuple[int, ...]
    quality: tuple[Estimate, ...]
    """Of each budget; intervals are over queries."""
    values: Values
    """Of each query and budget ``(nq, budgets)``, averaged over the orders in which pairs came."""
    law: tuple[float, float, float]
    """a, b and c of ``a - b n^(-c)``."""
    misfit: float
    """The largest distance of the law from the values it was fitted to, those of the five largest
    budgets."""
    tolerance: float
    asymptote: Estimate
    enough: Estimate
    """The smallest number of pairs within ``tolerance`` of the asymptote."""
    remaining: Estimate
    """Asymptote minus the law at the largest budget."""
    doubling: Estimate
    """What twice the largest budget would add, by the law, which real curves fall short of: the
    interval reaches down to a quarter of it."""
    answer: str
    """Whether more pairs are worth it, in one sentence."""

    def __str__(self) -> str:
        lines = [f"{self.recipe}: {self.metric} of {self.n_queries:,} unseen queries"]
        lines += [f"{n:>9,} pairs  {q}" for n, q in zip(self.budgets, self.quality, strict=True)]
        lines += [f"asymptote        {self.asymptote}", f"enough           {_pairs(self.enough)}"]
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
    doubling = _widened(_between(law, resampled, lambda q: q.at(2 * last) - q.at(last), level))
    enough = _enough(law, resampled, tolerance, level)
    return LearningCurve(
        recipe=recipe,
        metric=metric,
        n_queries=len(values),
        budgets=tuple(budgets),
        quality=measured,
        values=values,
        law=(float(law.a[0]), float(law.b[0]), float(law.c[0])),
        misfit=float(np.abs([law.at(n)[0] for n in late] - observed[-_LATEST:]).max()),
        tolerance=tolerance,
        asymptote=_between(law, resampled, lambda q: q.a, level),
        enough=enough,
        remaining=_between(law, resampled, lambda q: q.a - q.at(last), level),
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
        return (
            f"to find an item's own vector more pairs add nothing: {gain}, at most the tolerance "
            f"of {tolerance:g}; what queries find can still grow with them, and only queries with "
            "their answers show it"
        )
    return f"it is open whether more pairs are worth it: {gain}"


def _pairs(n: Estimate) -> str:
    """A number of pairs with its interval, to two digits."""
    if n.value is None:
        return f"unknown: {n.reason}"
    value, low, high = (
        None if v is None else f"{float(f'{v:.2g}'):,.0f}" for v in (n.value, n.low, n.high)
    )
    return f"about {value} pairs ({n.reason if low is None else f'{low} to {high}'})"


def _between(
    law: PowerLaw, resampled: PowerLaw, of: Callable[[PowerLaw], Values], level: float
) -> Estimate:
    return estimate(float(of(law)[0]), of(resampled), level=level)


def _widened(gain: Estimate) -> Estimate:
    """Twelve curves of three real upgrades gained 1 / 1.3 to 1 / 4 of what their law said."""
    if gain.value is None or gain.low is None:
        return gain
    low = min(gain.low, gain.value / _OVERSTATED - (gain.value - gain.low))
    return gain.model_copy(update={"low": low})


def _enough(law: PowerLaw, resampled: PowerLaw, tolerance: float, level: float) -> Estimate:
    value, spread = float(law.enough(tolerance)[0]), resampled.enough(tolerance)
    if value > _FARTHEST:
        return Estimate(value=None, reason="the curve has not begun to level off")
    far = float(np.mean(spread > _FARTHEST))
    if far > (1 - level) / 2:
        return Estimate(value=value, reason=f"in {far:.0%} of resamples it does not level off")
    return estimate(value, np.minimum(spread, _FARTHEST), level=level)
