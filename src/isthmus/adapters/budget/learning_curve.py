"""How many pairs are enough: held-out quality as a function of their number, and where it levels.

A saturating power law ``q(n) = a - b n^(-c)`` is fitted to the measured curve.  Its asymptote says
what this recipe could reach, and so what more pairs are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.budget.power_law import FEWEST_BUDGETS, PowerLaw, fit_power_law
from isthmus.adapters.chain import Chain
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.recipe import Recipe
from isthmus.errors import InputError
from isthmus.evaluate import (
    Estimate,
    estimate,
    from_ids,
    parse_metric,
    relevant_ranks,
    resampled_means,
)
from isthmus.moments import Moments, SecondMoments
from isthmus.numeric import Array, to_numpy
from isthmus.progress import Progress, silent
from isthmus.spaces.ids import check_unique, normalise_ids
from isthmus.spaces.row_checks import check_vectors, take_rows
from isthmus.spaces.sample import Batch
from isthmus.spaces.split import hash_ids

__all__ = ["LearningCurve", "learning_curve"]

Values = NDArray[np.float64]
Map = Callable[[NDArray[Any]], NDArray[Any]]
Fit = Callable[[NDArray[Any], NDArray[Any]], Map]
"""A user's own fit: paired rows in, a map of source rows out."""

_LADDER = (100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000)
_FEWEST_HELD_OUT = 10
_BLOCK_ROWS = 8192
_FARTHEST = 1e9
_LATEST = 5  # with few pairs for the width, curves do not follow the law yet
_CENTRED_COSINE = "unit_norm | center | unit_norm | center | procrustes | unit_norm"


@dataclass(frozen=True, eq=False)
class LearningCurve:
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
    """What twice the largest budget would add, by the law."""
    answer: str
    """Whether more pairs are worth it, in one sentence."""

    def __str__(self) -> str:
        lines = [f"{self.recipe}: {self.metric} of {self.n_queries:,} unseen queries"]
        lines += [f"{n:>9,} pairs  {q}" for n, q in zip(self.budgets, self.quality, strict=True)]
        lines += [f"asymptote        {self.asymptote}", f"enough           {_pairs(self.enough)}"]
        return "\n".join([*lines, self.answer])


def learning_curve(
    x: Array,
    y: Array,
    *,
    ids: NDArray[Any] | None = None,
    recipe: str | Recipe | Fit | None = None,
    budgets: Sequence[int] | None = None,
    cosine: bool = True,
    metric: str = "recall@1",
    judge: Callable[[Any], Values] | None = None,
    held_out: int | None = None,
    orders: int = 3,
    tolerance: float = 0.01,
    resamples: int = 500,
    level: float = 0.95,
    seed: int = 0,
    progress: Progress = silent,
) -> LearningCurve:
    """Measure a recipe with ever more pairs, and say how many are enough.

    The pairs are put in order by a hash of their ids; the first are held out, and each budget takes
    a longer prefix of the others, so that more pairs never change what fewer gave.

    Args:
        x: source rows ``(n, dx)``; may be a memory map, which is read by blocks.
        y: target rows of the same items ``(n, dy)``.
        ids: ``(n,)``; row numbers if not given.
        recipe: without ``auto``; or a function from paired rows to a map.  Centred Procrustes if
            not given.
        budgets: numbers of pairs, at least three; 100, 250, 500, 1,000 and so on, and all, if not
            given.
        cosine: how the target is compared; otherwise by distance.
        metric: of the held-out pairs, each looking for its own among them.
        judge: instead, the value of every query of the caller's as a function of the map; then
            nothing is held out here, and ``x`` and ``y`` must not hold the answers.
        held_out: how many pairs are; a fifth, at most 2,000, if not given.
        orders: of the pairs, whose curves are averaged.
        tolerance: how near to the asymptote is near enough, in units of the metric.
        resamples: of the queries, for the intervals.
        level: of the intervals.
        seed: of the orders and the bootstrap.
        progress: told after every fit.

    Raises:
        InputError: for sides that do not pair, too few pairs for a curve, budgets that are not
            there, a recipe with ``auto``, and vectors that cannot be compared.
    """
    if len(x.shape) != 2 or len(y.shape) != 2 or x.shape[0] != y.shape[0]:
        raise InputError(
            f"expected paired rows, got arrays of shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if orders < 1 or not tolerance > 0:
        raise InputError(
            f"expected at least 1 order and a positive tolerance, got {orders} and {tolerance}"
        )
    n = int(x.shape[0])
    names = _names(ids, n)
    kept, queries = _parted(names, 0 if judge is not None else held_out, seed)
    budgets = _checked_budgets(budgets, len(kept))
    source = _Rows(x, y, "cosine" if cosine else "l2")
    fit, name = _fitter(recipe, source, cosine)
    if judge is None:
        judge = _own_judge(source, queries, metric)
    chance = parse_metric(metric).chance(np.ones(1, np.int64), max(len(queries), 1))

    totals: list[Values | None] = [None] * len(budgets)
    for order in range(orders):
        by_hash = kept[np.argsort(hash_ids(names[kept], seed + 1 + order), kind="stable")]
        for i, budget in enumerate(budgets):
            if order and budget == len(kept):
                value = _present(totals[i]) / order  # all pairs are the same in any order
            else:
                value = np.asarray(judge(fit(by_hash[:budget])), dtype=np.float64)
            before = totals[i]
            totals[i] = value if before is None else before + value
            progress("learning curve", order * len(budgets) + i + 1, orders * len(budgets))
    values = np.column_stack([_present(total) / orders for total in totals])
    means = resampled_means(values, resamples=resamples, seed=seed)
    return _read_off(
        name, metric, budgets, values, means, tolerance, level, chance if len(queries) else None
    )


def _read_off(
    recipe: str,
    metric: str,
    budgets: Sequence[int],
    values: Values,
    means: Values,
    tolerance: float,
    level: float,
    chance: float | None,
) -> LearningCurve:
    bound = parse_metric(metric).metric.bounds[1]
    observed = values.mean(axis=0)
    late = budgets[-_LATEST:]
    law, resampled = (
        fit_power_law(late, v[..., -_LATEST:], bound=bound) for v in (observed, means)
    )
    last = float(budgets[-1])
    measured = tuple(estimate(float(v), means[:, i], level=level) for i, v in enumerate(observed))
    doubling = _between(law, resampled, lambda q: q.at(2 * last) - q.at(last), level)
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
        return f"more pairs are not worth it: {gain}, at most the tolerance of {tolerance:g}"
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


def _enough(law: PowerLaw, resampled: PowerLaw, tolerance: float, level: float) -> Estimate:
    value, spread = float(law.enough(tolerance)[0]), resampled.enough(tolerance)
    if value > _FARTHEST:
        return Estimate(value=None, reason="the curve has not begun to level off")
    far = float(np.mean(spread > _FARTHEST))
    if far > (1 - level) / 2:
        return Estimate(value=value, reason=f"in {far:.0%} of resamples it does not level off")
    return estimate(value, np.minimum(spread, _FARTHEST), level=level)


def _present(value: Values | None) -> Values:
    assert value is not None
    return value


def _names(ids: NDArray[Any] | None, n: int) -> NDArray[Any]:
    if ids is None:
        return np.arange(n)
    names = normalise_ids(ids, "ids")
    if len(names) != n:
        raise InputError(f"{len(names)} ids for {n} pairs", where="ids")
    check_unique(names, lambda row: f"ids, row {row}")
    return names


def _parted(
    names: NDArray[Any], held_out: int | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit on and rows held out, by the hash of their ids."""
    n = len(names)
    size = min(2000, n // 5) if held_out is None else held_out
    if held_out != 0 and not _FEWEST_HELD_OUT <= size <= n - FEWEST_BUDGETS:
        raise InputError(
            f"{size} of {n} pairs cannot be held out to judge by",
            where="held_out",
            mend=f"Hold out {_FEWEST_HELD_OUT} pairs at the least; a curve needs about 60 in all",
        )
    order = np.argsort(hash_ids(names, seed), kind="stable")
    return np.sort(order[size:]), np.sort(order[:size])


def _checked_budgets(budgets: Sequence[int] | None, available: int) -> list[int]:
    if budgets is None:
        budgets = [b for b in _LADDER if b < 0.8 * available]
        if len(budgets) < FEWEST_BUDGETS - 1:
            budgets = [available // 8, available // 4, available // 2]
        budgets = [*budgets, available]
    found = sorted(set(map(int, budgets)))
    if found and found[-1] > available:
        raise InputError(
            f"a budget of {found[-1]:,} pairs was asked for, and {available:,} can be fitted on",
            where="budgets",
            mend="Give more pairs, or smaller budgets",
        )
    if len(found) < FEWEST_BUDGETS or found[0] < 2:
        raise InputError(
            f"a curve needs at least {FEWEST_BUDGETS} different budgets of 2 pairs or more, got "
            f"{found}",
            where="budgets",
        )
    return found


class _Rows:
    """Paired rows picked by number, checked and in blocks."""

    def __init__(self, x: Array, y: Array, metric: Any) -> None:
        self.x, self.y, self.metric = x, y, metric

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The rows of both sides ``(k, dx)`` and ``(k, dy)``."""
        return self._side(self.x, rows, "x"), self._side(self.y, rows, "y")

    def _side(self, side: Array, rows: NDArray[np.int64], name: str) -> NDArray[Any]:
        return to_numpy(check_vectors(take_rows(side, rows), metric=self.metric, where=name))

    def blocks(self, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """The same, a block at a time."""
        for start in range(0, len(rows), _BLOCK_ROWS):
            yield self.take(rows[start : start + _BLOCK_ROWS])

    def moments(self, rows: NDArray[np.int64], on_x: Chain, on_y: Chain) -> SecondMoments:
        """The moments of the rows behind two chains."""
        found: Moments | None = None
        for x, y in self.blocks(rows):
            x, y = on_x(x), on_y(y)
            if found is None:
                found = Moments(x.shape[1], y.shape[1], keep={"square", "xx", "xy", "yy"})
            found.update(x, y)
        assert found is not None
        return found.second()


@dataclass(frozen=True, eq=False)
class _FitRows:
    """The rows behind two chains, for refinements."""

    source: _Rows
    rows: NDArray[np.int64]
    on_x: Chain
    on_y: Chain

    def __iter__(self) -> Iterator[Batch]:
        done = 0
        for x, y in self.source.blocks(self.rows):
            yield Batch(self.rows[done : done + len(x)], self.on_x(x), self.on_y(y))
            done += len(x)


def _fitter(
    recipe: str | Recipe | Fit | None, source: _Rows, cosine: bool
) -> tuple[Callable[[NDArray[np.int64]], Map], str]:
    """A fit on the rows of the given numbers, and what to call it."""
    if recipe is None:
        recipe = _CENTRED_COSINE if cosine else "center | procrustes(scale=true)"
    if not isinstance(recipe, (str, Recipe)):
        own = recipe
        return lambda rows: own(*source.take(np.sort(rows))), getattr(own, "__name__", repr(own))
    parsed = Recipe.of(recipe)
    automatic = [name for step in parsed.steps for name in step.automatic]
    if automatic:
        raise InputError(
            f"'{automatic[0]}' is left to cross-validation, which a curve has no pairs for",
            where=str(parsed),
            mend="Fit once, and give the recipe that was chosen",
        )

    def fit(rows: NDArray[np.int64]) -> Chain:
        rows = np.sort(rows)
        front = fit_front(parsed.front, lambda x, y: source.moments(rows, x, y), cosine=cosine)
        moments = source.moments(rows, front.x, front.y)
        return fit_chain(parsed, front, moments, _FitRows(source, rows, front.x, front.y))

    return fit, str(parsed)


def _own_judge(source: _Rows, queries: NDArray[np.int64], metric: str) -> Callable[[Map], Values]:
    """Each held-out pair looks for its own among all of them."""
    x, y = source.take(queries)
    relevance, parsed = from_ids(range(len(x)), range(len(x))), parse_metric(metric)

    def value(mapped: Map) -> Values:
        return parsed.per_query(relevant_ranks(mapped(x), y, relevance, metric=source.metric))

    return value
