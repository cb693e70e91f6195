"""How far to mix: the weight of the bridged query that does best on support queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.errors import InputError
from isthmus.evaluate import Estimate, PairedOutcomes, Resampling, Trial, parse_metric
from isthmus.evaluate.judging import default_metric
from isthmus.ways.recall import values_of
from isthmus.ways.way import Recall

__all__ = ["ALPHAS", "ChosenAlpha", "choose_alpha"]

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
"""Weights of the bridged query that are tried."""

_FEWEST_QUERIES = 2


@dataclass(frozen=True)
class ChosenAlpha:
    """The weight of the bridged query that did best on support queries."""

    alpha: float
    interval: Estimate
    """Alpha with the spread of what would have been chosen in draws of `PairedOutcomes`."""

    @property
    def certain(self) -> bool:
        """Whether resampled support queries would have mixed as well."""
        return self.interval.low is not None and self.interval.low > 0


def choose_alpha(
    support: Trial,
    *,
    primary: str | None = None,
    alphas: tuple[float, ...] = ALPHAS,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> ChosenAlpha:
    """The α that does best on support queries, with an interval of the choice.

    Ties go to the smaller α.  With a single support query, or where every α does equally well, the
    data choose nothing: α is 0, the old query, without an interval.

    Args:
        support: answerable queries that no later test uses.
        primary: the metric that decides; `default_metric` if not given.
        alphas: tried, ascending.
        resamples: of the support queries.
        level: of the interval.
        seed: of the resamples.

    Raises:
        InputError: for a trial without relevance, and one that has nothing to mix.
    """
    if support.relevance is None:
        raise InputError("without relevance no weight can be chosen", where="mixed query")
    if not alphas or list(alphas) != sorted(alphas):
        raise InputError("the weights to try must ascend", where="alphas")
    metric = parse_metric(primary or default_metric(support.relevance))
    if support.n_queries < _FEWEST_QUERIES:
        reason = f"{support.n_queries} support query chooses nothing"
        return ChosenAlpha(0.0, Estimate(value=0.0, reason=reason))
    recalls = [Recall(kind="mixed", alpha=a) if a else Recall(kind="old") for a in alphas]
    values = np.column_stack([values_of(support, one, metric, seed=seed) for one in recalls])
    if bool((values == values[:, :1]).all()):
        reason = "every weight does equally well"
        return ChosenAlpha(0.0, Estimate(value=0.0, reason=reason))
    best = np.asarray(alphas)[np.argmax(values.mean(axis=0))]
    outcomes = PairedOutcomes(values, Resampling(resamples, seed=seed))
    gains = [outcomes.drawn_difference(i, 0) for i in range(len(alphas))]
    # rounded, so that sums of equal values are equal whatever their order
    chosen = np.asarray(alphas)[np.argmax(np.column_stack(gains).round(12), axis=1)]
    low, high = np.quantile(chosen, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    found = Estimate(value=float(best), low=float(low), high=float(high))
    return ChosenAlpha(float(best), found)
