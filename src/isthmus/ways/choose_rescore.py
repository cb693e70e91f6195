"""How deep to rescore: the cheapest cascade that does about as well as the best.

With the gallery's new vectors at hand the simulation is exact: what is encoded at query time has
the vector it would have had ahead.  What was encoded is kept, so a cascade is a backfill too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Trial, parse_metric
from isthmus.evaluate.judging import default_metric
from isthmus.evaluate.metrics import MetricAt
from isthmus.evaluate.rescore import rescored_ranks
from isthmus.ways.depth import DepthRule, FixedDepth, MarginDepth, ScoreLink, StoppingDepth
from isthmus.ways.recall import Recalled, recalled
from isthmus.ways.way import Recall, Rescore

__all__ = ["choose_rescore", "deepest"]

WEIGHTS = (0.0, 0.15, 0.3, 0.45)
"""Weights of the recall score that are tried."""

_DEPTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100)
_STOPPING = np.arange(0.5, 3.51, 0.25)
_STEP = 5
_SAVING = 0.9
"""A rule that looks at each query must cost at most this share of the fixed depth."""


def deepest(*trials: Trial) -> int:
    """How many items a cascade may rescore: 100, but at most 5 % of the smallest gallery."""
    smallest = min(trial.n_searchable for trial in trials)
    return max(1, min(100, smallest // 20))


def choose_rescore(
    support: Trial,
    recall: Recall,
    *,
    primary: str | None = None,
    most: int | None = None,
    price: float | None = None,
    tolerance: float = 0.005,
    found: Recalled | None = None,
) -> Rescore:
    """The cheapest cascade that does about as well as the best, on support queries.

    First the weight of the recall score is chosen at the largest depth.  Then a fixed number of
    items, all within a margin of the best recall score, and stopping when the rest can hardly
    matter are tried at many settings each.  Taken is the one of the fewest encodings per query
    whose metric is within one standard error, or within ``tolerance``, of the best.  A rule that
    looks at each query must save a tenth against the best fixed number.  A single support query
    chooses nothing: then the largest number of items is rescored, and ordered by the new model
    alone.

    Args:
        support: answerable queries that no later test uses.
        recall: who recalls.
        primary: the metric that decides; `default_metric` if not given.
        most: items rescored at the most; `deepest` if not given.
        price: encodings per query that may not be exceeded, on average; the best setting within
            it is the one that others are compared with.
        tolerance: loss of the metric that a lower price is worth.
        found: what `recalled` gave for these queries, to a depth of at least ``most``.

    Raises:
        InputError: for a trial without relevance or new gallery vectors, more items than can be
            found, and a price that no setting meets.
    """
    most = deepest(support) if most is None else most
    if not 1 <= most <= support.n_searchable:
        raise InputError(
            f"cannot rescore {most} of {support.n_searchable} gallery items", where="most"
        )
    if price is not None and price < 1:
        raise InputError(
            f"no cascade costs {price:g} encodings per query or less",
            where="price",
            mend="Allow at least one",
        )
    if support.n_queries < 2:
        most = most if price is None else min(most, int(price))
        return Rescore(depth=FixedDepth(k=most))
    found = recalled(support, recall, most) if found is None else found
    assert support.relevance is not None
    metric = parse_metric(primary or default_metric(support.relevance))
    relevant = support.relevance.among(found.found.indices[:, :most])
    bench = _Bench(found, relevant, metric, most)
    scores, new_scores = found.found.scores[:, :most], found.new_scores[:, :most]
    link = ScoreLink.of(scores, new_scores)
    scale = _scale(scores, new_scores)
    whole = [Rescore(depth=FixedDepth(k=most), weight=w, scale=scale) for w in WEIGHTS]
    best = max((bench.measured(one) for one in whole), key=lambda m: float(m.values.mean()))
    weight = best.rescore.weight

    def measured(rules: Iterable[DepthRule]) -> list[_Measured]:
        some = [bench.measured(Rescore(depth=r, weight=weight, scale=scale)) for r in rules]
        return [m for m in some if price is None or m.mean_depth <= price]

    def stopping(z: float) -> StoppingDepth:
        return StoppingDepth(
            z=z, step=_STEP, most=most,
            slope=link.slope, intercept=link.intercept, spread=link.spread,
        )  # fmt: skip

    fixed = measured(_fixed(most))
    fine = measured(
        [
            *(MarginDepth(margin=m, most=most) for m in _margins(scores)),
            *(stopping(float(z)) for z in _STOPPING),
        ]
    )
    top = max([*fixed, *fine], key=lambda m: (float(m.values.mean()), -m.mean_depth))
    cheapest = _cheapest(fixed, top, tolerance)
    finest = _cheapest(fine, top, tolerance)
    if cheapest is None:
        return (finest or top).rescore
    if finest is not None and finest.mean_depth <= _SAVING * cheapest.mean_depth:
        return finest.rescore
    return cheapest.rescore


class _Measured(NamedTuple):
    rescore: Rescore
    values: NDArray[np.float64]
    mean_depth: float

    def about(self, best: _Measured, tolerance: float) -> bool:
        gap = best.values - self.values
        return float(gap.mean()) <= max(tolerance, float(gap.std()) / len(gap) ** 0.5)


def _cheapest(some: list[_Measured], best: _Measured, tolerance: float) -> _Measured | None:
    enough = [m for m in some if m.about(best, tolerance)]
    return min(enough, key=lambda m: m.mean_depth, default=None)


@dataclass(frozen=True, eq=False)
class _Bench:
    """Support queries that cascades of one recall are measured on."""

    found: Recalled
    relevant: NDArray[np.bool_]
    metric: MetricAt
    most: int

    def measured(self, rescore: Rescore) -> _Measured:
        scores = self.found.found.scores[:, : self.most]
        new = self.found.new_scores[:, : self.most]
        fused = rescore.fused(scores, new)
        depths = rescore.depth.depths(scores, fused, rescore)
        ranks = rescored_ranks(self.found.ranks, self.relevant, fused, depths=depths)
        return _Measured(rescore, self.metric.per_query(ranks), float(depths.mean()))


def _fixed(most: int) -> list[FixedDepth]:
    return [FixedDepth(k=k) for k in sorted({*(k for k in _DEPTHS if k < most), most})]


def _margins(recall_scores: NDArray[np.float32]) -> list[float]:
    """Margins that let through as many items on average as the fixed depths do."""
    behind = np.asarray(recall_scores[:, :1], dtype=np.float64) - recall_scores
    most = behind.shape[1]
    shares = [k / most for k in _DEPTHS if k < most]
    return sorted({0.0, *(float(f"{m:.4g}") for m in np.quantile(behind, shares))})


def _scale(recall_scores: NDArray[Any], new_scores: NDArray[Any]) -> float:
    """Spread of new scores within a query over that of recall scores; 1 where one has none."""

    def spread(scores: NDArray[Any]) -> float:
        wide = np.asarray(scores, dtype=np.float64)
        return float(np.sqrt(np.mean((wide - wide.mean(axis=1, keepdims=True)) ** 2)))

    recall, new = spread(recall_scores), spread(new_scores)
    return float(f"{new / recall:.4g}") if min(recall, new) > 1e-9 else 1.0
