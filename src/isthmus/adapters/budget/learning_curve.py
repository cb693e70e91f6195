"""How many pairs are enough: held-out quality as a function of their number, and where it levels.

A saturating power law ``q(n) = a - b n^(-c)`` is fitted to the measured curve.  Its asymptote says
what this recipe could reach, and so what more pairs are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.budget.curve_reading import LearningCurve, read_off
from isthmus.adapters.budget.paired_rows import MappedRows, PairedRows
from isthmus.adapters.budget.power_law import FEWEST_BUDGETS
from isthmus.adapters.chain import Chain
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.recipe import Recipe
from isthmus.array_types import Values
from isthmus.errors import InputError
from isthmus.evaluate import (
    from_ids,
    parse_metric,
    relevant_ranks,
    resampled_means,
)
from isthmus.numeric import Array
from isthmus.progress import Progress, silent
from isthmus.spaces.ids import check_unique, normalise_ids
from isthmus.spaces.split import hash_ids

__all__ = ["CurveDesign", "learning_curve"]

Map = Callable[[NDArray[Any]], NDArray[Any]]
FitMap = Callable[[NDArray[Any], NDArray[Any]], Map]
"""A user's own fit: paired rows in, a map of source rows out."""

_LADDER = (100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000)
_FEWEST_HELD_OUT = 10
_CENTRED_COSINE = "unit_norm | center | unit_norm | center | procrustes | unit_norm"


@dataclass(frozen=True)
class CurveDesign:
    """How a learning curve is measured."""

    budgets: Sequence[int] | None = None
    """Numbers of pairs, at least three; 100, 250, 500, 1,000 and so on, and all, if None."""
    metric: str = "recall@1"
    """The metric of held-out pairs, each of which looks for its own partner among them all."""
    judge: Callable[[Any], Values] | None = None
    """Instead of held-out pairs, the value of every query of the caller's as a function of the map.
    Then nothing is held out here, and the pairs must not hold the answers."""
    held_out: int | None = None
    """How many pairs are held out; a fifth, at most 2,000, if None."""
    orders: int = 3
    """In how many random orders the pairs are added; their curves are averaged."""
    tolerance: float = 0.01
    """How near to the asymptote is near enough, in units of the metric."""
    resamples: int = 500
    """Bootstrap resamples of the queries, for the intervals."""
    level: float = 0.95
    """Share of the resampled values that an interval holds."""

    def __post_init__(self) -> None:
        if self.orders < 1 or not self.tolerance > 0:
            raise InputError(
                f"expected at least 1 order and a positive tolerance, got {self.orders} and "
                f"{self.tolerance}"
            )


def learning_curve(
    x: Array,
    y: Array,
    *,
    ids: NDArray[Any] | None = None,
    recipe: str | Recipe | FitMap | None = None,
    cosine: bool = True,
    design: CurveDesign | None = None,
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
        cosine: how the target is compared; otherwise by distance.
        design: what is measured, with how many pairs, how often; `CurveDesign` if not given.
        seed: of the orders and the bootstrap.
        progress: told after every fit.

    Raises:
        InputError: for sides that do not pair, too few pairs for a curve, budgets that are not
            there, a recipe with ``auto``, and vectors that cannot be compared.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((200, 4))
        >>> turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
        >>> noise = np.random.default_rng(2).standard_normal((200, 4))
        >>> once = CurveDesign(orders=1, resamples=50)
        >>> curve = learning_curve(x, x @ turn + 0.1 * noise, design=once)
        >>> list(curve.budgets)
        [20, 40, 80, 160]
    """
    design = CurveDesign() if design is None else design
    if len(x.shape) != 2 or len(y.shape) != 2 or x.shape[0] != y.shape[0]:
        raise InputError(
            f"expected paired rows, got arrays of shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    n = int(x.shape[0])
    names = _names(ids, n)
    kept, queries = _parted(names, 0 if design.judge is not None else design.held_out, seed)
    budgets = _checked_budgets(design.budgets, len(kept))
    source = PairedRows(x, y, "cosine" if cosine else "l2")
    fit, name = _fitter(recipe, source, cosine)
    judge = design.judge or _own_judge(source, queries, design.metric)
    chance = parse_metric(design.metric).chance(np.ones(1, np.int64), max(len(queries), 1))

    totals: list[Values | None] = [None] * len(budgets)
    for order in range(design.orders):
        by_hash = kept[np.argsort(hash_ids(names[kept], seed + 1 + order), kind="stable")]
        for i, budget in enumerate(budgets):
            if order and budget == len(kept):
                value = _present(totals[i]) / order  # all pairs are the same in any order
            else:
                value = np.asarray(judge(fit(by_hash[:budget])), dtype=np.float64)
            before = totals[i]
            totals[i] = value if before is None else before + value
            progress("learning curve", order * len(budgets) + i + 1, design.orders * len(budgets))
    values = np.column_stack([_present(total) / design.orders for total in totals])
    means = resampled_means(values, resamples=design.resamples, seed=seed)
    return read_off(
        name, design.metric, budgets, values, means, tolerance=design.tolerance,
        level=design.level, chance=chance if len(queries) else None,
    )  # fmt: skip


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


def _fitter(
    recipe: str | Recipe | FitMap | None, source: PairedRows, cosine: bool
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
        return fit_chain(parsed, front, moments, MappedRows(source, rows, front.x, front.y))

    return fit, str(parsed)


def _own_judge(
    source: PairedRows, queries: NDArray[np.int64], metric: str
) -> Callable[[Map], Values]:
    """Each held-out pair looks for its own among all of them."""
    x, y = source.take(queries)
    relevance, parsed = from_ids(range(len(x)), range(len(x))), parse_metric(metric)

    def value(mapped: Map) -> Values:
        return parsed.per_query(relevant_ranks(mapped(x), y, relevance, metric=source.metric))

    return value
