"""How far to mix: the weight of the bridged query that does best on support queries.

Values at a few weights lie on a flat, concave curve, and their own differences are mostly noise: of
two halves of the same queries one would take .1 and the other .8.  So the best of a parabola
through them is taken, and held against the old query alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.array_types import Values
from isthmus.errors import InputError
from isthmus.evaluate import Estimate, PairedOutcomes, Resampling, Trial, parse_metric
from isthmus.evaluate.judging import default_metric
from isthmus.ways.recall import values_of
from isthmus.ways.way import Recall

__all__ = ["ALPHAS", "ChosenAlpha", "choose_alpha"]

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
"""Weights of the bridged query that are tried."""
_STEP = 0.05
"""Between the weights that may be taken."""
_FEWEST_QUERIES = 2
_CERTAIN = 0.9


@dataclass(frozen=True)
class ChosenAlpha:
    """The weight of the bridged query that did best on support queries."""

    alpha: float
    interval: Estimate
    """Alpha with the spread of what would have been chosen in draws of `PairedOutcomes`."""
    mixing: float = 0.0
    """The share of those draws in which it is above 0."""

    @property
    def certain(self) -> bool:
        """Whether resampled support queries would have mixed as well, nine times of ten."""
        return self.alpha > 0 and self.mixing >= _CERTAIN


def choose_alpha(
    support: Trial,
    *,
    primary: str | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> ChosenAlpha:
    """The α that does best on support queries, with an interval of the choice.

    The best of a parabola through the values of bridged and mixed queries, in steps of 0.05; 0, the
    old query, where those weights between which it lies do no better on average.  With a single
    support query, or where every α does equally well, the data choose nothing: α is 0, without an
    interval.

    Args:
        support: answerable queries that no later test uses.
        primary: the metric that decides; `default_metric` if not given.
        resamples: of the support queries.
        level: of the interval.
        seed: of the resamples.

    Raises:
        InputError: for a trial without relevance, and one that has nothing to mix.
    """
    if support.relevance is None:
        raise InputError("without relevance no weight can be chosen", where="mixed query")
    metric = parse_metric(primary or default_metric(support.relevance))
    if support.n_queries < _FEWEST_QUERIES:
        reason = f"{support.n_queries} support query chooses nothing"
        return ChosenAlpha(0.0, Estimate(value=0.0, reason=reason))
    recalls = [Recall(kind="mixed", alpha=a) if a else Recall(kind="old") for a in ALPHAS]
    values = np.column_stack([values_of(support, one, metric, seed=seed) for one in recalls])
    if bool((values == values[:, :1]).all()):
        reason = "every weight does equally well"
        return ChosenAlpha(0.0, Estimate(value=0.0, reason=reason))
    outcomes = PairedOutcomes(values, Resampling(resamples, seed=seed))
    drawn = np.column_stack([outcomes.drawn_difference(i, 0) for i in range(len(ALPHAS))])
    means = values.mean(axis=0)
    best, *chosen = _best(np.vstack([means - means[0], drawn]))
    low, high = np.quantile(chosen, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    found = Estimate(value=float(best), low=float(low), high=float(high))
    return ChosenAlpha(float(best), found, float(np.mean(np.array(chosen) > 0)))


def _best(gains: Values) -> Values:
    """The weight to take of each row of gains over the old query ``(n, weights)``."""
    tried, powers = np.array(ALPHAS[1:]), np.arange(3)
    may = np.linspace(tried[0], 1, round((1 - tried[0]) / _STEP) + 1).round(12)
    onto = np.power.outer(may, powers) @ np.linalg.pinv(np.power.outer(tried, powers))
    # rounded, so that sums of equal values are equal whatever their order
    peak = np.argmax((gains[:, 1:] @ onto.T).round(12), axis=1)
    between = np.array([np.interp(may, tried, row) for row in np.eye(len(tried))])
    found = (gains[:, 1:] @ between)[np.arange(len(gains)), peak].round(12)
    return np.where(found > 0, may[peak], 0.0)
